"""Pictures: each module draws one kind from plain numbers and knows no store."""
