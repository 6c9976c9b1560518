#!/usr/bin/env bash
# A PostgreSQL for MLflow in a folder of its own; it listens on 127.0.0.1 only and asks for a password.
#
#   cluster/mlflow/postgres.sh up DIR [PORT]    # makes DIR when first called; the default port is 5432
#   cluster/mlflow/postgres.sh down DIR
#
# DIR/uri (readable by its owner only) then holds MLflow's backend store URI. PostgreSQL does not run as root: called by
# root, it runs as the user `postgres`, who must be able to reach DIR. Where a database server is there already, put its
# URI in such a file instead.
set -euo pipefail

bin=$(dirname "$(command -v initdb || find /usr/lib/postgresql -name initdb 2>/dev/null | sort -V | tail -n 1)")

as_postgres() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

up() {
    local dir=$1 port=$2
    [ -x "$bin/initdb" ] || { echo "error: no PostgreSQL here (Debian, Ubuntu: apt install postgresql)" >&2; exit 1; }
    [ -e "$dir/data/base" ] || make "$dir"
    as_postgres "$bin/pg_ctl" start --wait --silent -D "$dir/data/base" -l "$dir/data/server.log" \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='$dir/data' -c max_connections=200"
    local uri PGPASSWORD
    PGPASSWORD=$(cat "$dir/password")
    export PGPASSWORD PGHOST=127.0.0.1 PGPORT=$port PGUSER=mlflow
    psql -d mlflow -c '' 2>/dev/null || psql -q -d postgres -c 'CREATE DATABASE mlflow'
    uri=postgresql+psycopg://mlflow:$PGPASSWORD@127.0.0.1:$port
    (umask 077 && echo "$uri/mlflow" >"$dir/uri")
    echo "PostgreSQL listens on 127.0.0.1:$port; the URI with its password is in $dir/uri"
}

make() {
    local dir=$1
    mkdir -p "$dir"
    (umask 077 && mkdir "$dir/data") || {
        echo "error: $dir/data has no database of this script; remove it, or give another DIR" >&2
        exit 1
    }
    (umask 077 && head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$dir/password")
    if [ "$(id -u)" = 0 ]; then chown postgres "$dir/data"; fi
    # shellcheck disable=SC2016  # expanded by the inner shell, which runs as postgres
    as_postgres sh -c 'umask 077; cat >"$2/password" && "$1" -D "$2/base" --username=mlflow --pwfile="$2/password" \
        --auth=scram-sha-256 --encoding=UTF8 --no-instructions; status=$?; rm "$2/password"; exit $status' \
        sh "$bin/initdb" "$dir/data" <"$dir/password" >/dev/null || {
        rmdir "$dir/data" # initdb removes what it made
        exit 1
    }
}

down() { as_postgres "$bin/pg_ctl" stop --wait --silent --mode=fast -D "$1/data/base"; }

case "${1:-} $#" in
    "up 2" | "up 3") up "$(realpath -m "$2")" "${3:-5432}" ;;
    "down 2") down "$(realpath -m "$2")" ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
