# Sourced by slurm/dev/up for ACCOUNTING=yes: slurmdbd with a MariaDB of its own, so that sacct answers.
for program in slurmdbd mariadbd mariadb-install-db; do
  command -v "$program" >/dev/null || fail "ACCOUNTING=yes needs $program: apt-get install slurmdbd mariadb-server"
done
sql() { mariadb --no-defaults --socket="$SLURM_DEV/run/mariadb.sock" --user="$ME" "$@"; }
if [ ! -d "$SLURM_DEV/mariadb" ]; then
  mkdir "$SLURM_DEV/mariadb"
  mariadb-install-db --no-defaults --datadir="$SLURM_DEV/mariadb" --user="$ME" --auth-root-authentication-method=socket \
    --auth-root-socket-user="$ME" --skip-test-db > "$SLURM_DEV/log/mariadb-install.log" 2>&1
fi
setsid mariadbd --no-defaults --user="$ME" --datadir="$SLURM_DEV/mariadb" --socket="$SLURM_DEV/run/mariadb.sock" \
  --bind-address=127.0.0.1 --port=$((PORT + 2)) --pid-file="$SLURM_DEV/run/mariadb.pid" --skip-log-bin \
  --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 \
  > "$SLURM_DEV/log/mariadb.log" 2>&1 < /dev/null &
for _ in $(seq 200); do sql -e "select 1" >/dev/null 2>&1 && break; sleep 0.1; done
sql -e "create database if not exists slurm_acct_db; create user if not exists 'slurm'@'%' identified by 'slurm';
        grant all on slurm_acct_db.* to 'slurm'@'%'"
cat > "$SLURM_DEV/slurmdbd.conf" <<CONF
DbdHost=$HOST
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=$ME
AuthType=auth/munge
AuthInfo=socket=$SLURM_DEV/run/munge.sock
LogFile=$SLURM_DEV/log/slurmdbd.log
PidFile=$SLURM_DEV/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 2))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
chmod 600 "$SLURM_DEV/slurmdbd.conf"
cat >> "$SLURM_CONF" <<CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$SLURM_DEV/run/munge.sock
AccountingStorageTRES=gres/gpu
CONF
slurmdbd
for _ in $(seq 300); do sacctmgr -n -P show cluster >/dev/null 2>&1 && break; sleep 0.1; done
sacctmgr -i add cluster dev > "$SLURM_DEV/log/sacctmgr.log" 2>&1 || true
