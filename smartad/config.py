"""YAML files and ``dotted.key=value`` overrides to frozen dataclasses.  Left to right, later wins.

Where a dataclass has ``presets`` (name -> values), a config may say a name in its place.
"""

import contextlib
import dataclasses
import pickle
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from smartad.redact import find, redact
from smartad.types import UserError

T = TypeVar("T")


class ConfigError(UserError):
    """The configuration is wrong; the message says where and what would be right."""


def same_as(key: str) -> Any:
    """A default that is another key's value: ``seed: int = same_as("seed")``."""
    return "${" + key + "}"


def load(schema: type[T], sources: Sequence[str]) -> T:
    """Defaults of ``schema``, then each source in order: a ``.yaml`` path or a ``dotted.key=value``.

    Raises ConfigError for a missing file, an unknown key, a wrong type or a refused combination; it names the file where
    there is nothing else.
    """
    config = _merged(schema, sources)
    at = f"{sources[0]}: " if len(sources) == 1 and not _is_override(sources[0]) else ""
    try:
        return OmegaConf.to_object(config)  # type: ignore[return-value]
    except MissingMandatoryValue as error:
        raise ConfigError(f"{at}no value for {', '.join(sorted(OmegaConf.missing_keys(config)))}; "
                          f"set it in a YAML file or as key=value") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{at}{_first_line(error)}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{at}{error}") from error


class Template(Generic[T]):
    """Sources that many configs share, merged once: another config then takes 3 ms instead of 30."""

    def __init__(self, schema: type[T], sources: Sequence[str]) -> None:
        self.schema, self.sources = schema, tuple(sources)
        merged = _merged(schema, sources)
        self.nulls = [key for key, value in _leaves(OmegaConf.to_container(merged), "") if value is None]
        self.pickled = pickle.dumps(merged)  # what is unpickled may be changed, and is made faster than a copy

    def load(self, values: Mapping[str, Any]) -> T:
        """What ``load`` makes of the sources and then ``values``, dotted.key -> value, and its errors."""
        _refuse_secrets(values, "a value of the sweep")
        if not any(key.startswith(f"{whole}.") for key in values for whole in (*self.nulls, *values)):
            with contextlib.suppress(OmegaConfBaseException, ValueError, TypeError):
                merged = OmegaConf.unsafe_merge(pickle.loads(self.pickled), _spelt_out(self.schema, _nested(values)))
                return OmegaConf.to_object(merged)  # type: ignore[return-value]
        # Nearly always one of them is wrong, and one by one says which.
        return load(self.schema, [*self.sources, *(override(key, value) for key, value in values.items())])


def _merged(schema: type[Any], sources: Sequence[str]) -> DictConfig:
    config = OmegaConf.structured(schema)
    for source in sources:
        _refuse_part_of_null(config, source)
        try:
            config = OmegaConf.merge(config, _layer(schema, source))
        except OmegaConfBaseException as error:
            raise ConfigError(f"{source}: {_first_line(error)}") from error
    return config


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        inner = nested
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return nested


def from_mapping(schema: type[T], values: Mapping[str, Any], where: str) -> T:
    """``schema`` with ``values`` over its defaults.  Raises ConfigError that begins with ``where``."""
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), dict(values)))  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {_first_line(error)}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from error


def frozen(schema: type[Any], sources: Sequence[str]) -> str:
    """``sources`` as the text of one YAML file that loads to the same; references to other keys stay references."""
    config = OmegaConf.structured(schema)
    for source in sources:
        config = OmegaConf.merge(config, _layer(schema, source))
    return OmegaConf.to_yaml(config)


def written(config: Any) -> str:
    """A config as the text of a YAML file that loads to the same."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def read_yaml(path: str | Path) -> DictConfig:
    """A YAML file as a config.  Raises ConfigError when it is missing, broken, or names a key twice."""
    try:
        config = OmegaConf.load(path)
    except FileNotFoundError as error:
        near = sorted(Path(path).absolute().parent.glob("*.yaml")) if Path(path).absolute().parent.is_dir() else []
        hint = f"; beside it there are {', '.join(p.name for p in near)}" if near else ""
        named = [Path(folder) / f"{Path(path).stem}.yaml" for folder in ("sweeps", "slurm", "configs")]
        if meant := [str(path) for path in named if path.is_file()]:
            hint = f"; did you mean {' or '.join(meant)}?"
        raise ConfigError(f"no file {path}{hint}") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path}: expected a mapping of keys to values")
    _refuse_secrets(OmegaConf.to_container(config), str(path))
    return config


def settings(schema: type[Any], sources: Sequence[str]) -> dict[str, Any]:
    """dotted.key -> value for everything that ``sources`` set; later wins."""
    merged = OmegaConf.to_container(OmegaConf.merge(*(_layer(schema, source) for source in sources)))
    return dict(_leaves(merged, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{path}.{key}" if path else str(key))


def override(key: str, value: Any) -> str:
    """``key=value`` as :func:`load` reads it back, for any JSON-shaped value."""
    return f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix('...').strip()}"


def _refuse_part_of_null(config: DictConfig, source: str) -> None:
    """``train=null`` and then ``train.rank=4`` would silently bring train back with its defaults."""
    parts = source.split("=", 1)[0].split(".") if _is_override(source) else []
    for depth in range(1, len(parts)):
        whole = ".".join(parts[:depth])
        if OmegaConf.select(config, whole, default="") is None:
            raise ConfigError(f"{source}: {whole} is null here, so there is no {'.'.join(parts)} to set; "
                              f"leave this out, or set {whole} again as a whole")


def _is_override(source: str) -> bool:
    return "=" in source and not source.endswith((".yaml", ".yml"))


def _layer(schema: type[Any], source: str) -> Any:
    read = _read(source)
    try:
        return _spelt_out(schema, OmegaConf.to_container(read))
    except UserError as error:
        raise ConfigError(f"{source}: {error}") from error


def _spelt_out(schema: Any, layer: Any, path: str = "") -> Any:
    """``layer`` with a preset's values in the place of its name.  Raises UserError for a name that is none."""
    schema = next((t for t in typing.get_args(schema) if isinstance(t, type) and t is not type(None)), schema)  # X | None
    if isinstance(layer, Mapping) and isinstance(schema, type) and dataclasses.is_dataclass(schema):
        types = _types(schema)
        return {key: _spelt_out(types.get(key), value, f"{path}.{key}" if path else str(key)) for key, value in layer.items()}
    presets = getattr(schema, "presets", None)
    if presets is None or not isinstance(layer, str) or layer.startswith("${"):
        return layer
    if layer not in presets:
        raise UserError(f"{path}={layer!r} is none of {', '.join(presets)}; name one of them, or give "
                        f"{', '.join(field.name for field in dataclasses.fields(schema))}")
    return dict(presets[layer])


@cache
def _types(schema: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _read(source: str) -> DictConfig:
    if not _is_override(source):
        return read_yaml(source)
    key = source.split("=", 1)[0]
    if not key or any(c.isspace() for c in key):
        raise ConfigError(f"{redact(source)!r}: an override is written dotted.key=value, without spaces")
    layer = OmegaConf.from_dotlist([source])
    _refuse_secrets(OmegaConf.to_container(layer), "an override")
    return layer


def _refuse_secrets(values: Any, where: str) -> None:
    """A config is kept in the store, and shown to whoever looks at a dashboard."""
    for key, why in find(values):
        raise ConfigError(f"{where}: {key} must not be a secret, and {why}. Leave it in an environment variable: "
                          "libraries find their own ones, and smartad keeps their values out of all it writes")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), "")
    return f"{key}: {lines[0]}" if key and key not in lines[0] else lines[0]
