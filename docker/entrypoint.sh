#!/bin/sh
# Gives PostgreSQL's client its password, then becomes the command.
# The client refuses a password file that others may read, and a mounted secret is one. In a file
# the password is in no URL, so in no environment of a child, no log and no message to Ray.
set -eu
if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    password=$(sed 's/[\\:]/\\&/g' "$POSTGRES_PASSWORD_FILE")
    (umask 077 && printf '*:*:*:*:%s\n' "$password" > "$PGPASSFILE")
fi
exec "$@"
