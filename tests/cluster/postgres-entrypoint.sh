#!/bin/sh
# What the entry point of the image `postgres` does, for Debian's server: a database is made on
# first use, for a user whose password is in a file; then the command runs as the server's user.
set -eu
server() { setpriv --reuid postgres --regid postgres --init-groups -- "$@"; }
mkdir -p "$PGDATA"
chown postgres "$PGDATA"
chmod 700 "$PGDATA"
install -d -o postgres /var/run/postgresql
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    # The password's file is for its reader only; the server reads it as another user.
    install -o postgres -m 600 "$POSTGRES_PASSWORD_FILE" /var/run/postgresql/password
    # shellcheck disable=SC2086
    server initdb -D "$PGDATA" --username="$POSTGRES_USER" --pwfile=/var/run/postgresql/password \
        --auth-host=scram-sha-256 --auth-local=trust $POSTGRES_INITDB_ARGS
    rm /var/run/postgresql/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    server pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -k /var/run/postgresql" start
    server createdb -h /var/run/postgresql --username="$POSTGRES_USER" "$POSTGRES_DB"
    server pg_ctl -D "$PGDATA" -w stop
    # The tests ask it by a socket in a folder that they see, too.
    printf "listen_addresses = '*'\nunix_socket_directories = '%s'\n" /var/run/postgresql,/sockets \
        >> "$PGDATA/postgresql.conf"
fi
exec setpriv --reuid postgres --regid postgres --init-groups -- "$@"
