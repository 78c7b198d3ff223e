#!/bin/sh
# Start Promtail so that not even a kill -9 loses a line: loki/promtail.sh [OPTION ...]
#
# Promtail remembers how far it has read, not how far Loki has taken it. What lies between, a batch
# at most, is lost when it is killed while Loki is away. So after an end that was not clean this goes
# back by two batches in each file of the last two days. Some lines then come twice; their
# request_id tells.
set -eu
config=${PROMTAIL_CONFIG:-$(dirname "$0")/promtail.yaml}
data=${PROMTAIL_DATA:-/var/lib/promtail}
positions=$data/positions.yaml
running=$data/running
back=524288 # twice the batchsize of promtail.yaml

# FILE POSITION: where the first whole line begins that is at most so far back.
further_back() {
    if [ "$2" -le "$back" ]; then
        echo 0
    elif [ -n "$(find "$1" -mtime -2 2>/dev/null)" ]; then
        start=$(($2 - back))
        echo $((start - 1 + $(tail -c "+$start" "$1" | head -n 1 | wc -c)))
    else
        echo "$2"
    fi
}

rewind() {
    while IFS= read -r line; do
        file=${line#  }
        file=${file%: \"*}
        position=${line##*: \"}
        position=${position%\"}
        case $position in
        '' | *[!0-9]*) printf '%s\n' "$line" ;;
        *) printf '  %s: "%s"\n' "$file" "$(further_back "$file" "$position")" ;;
        esac
    done <"$positions" >"$positions.rewound"
    mv "$positions.rewound" "$positions"
}

mkdir -p "$data"
if [ -e "$running" ] && [ -e "$positions" ]; then
    rewind
fi
: >"$running"

promtail "-config.file=$config" -config.expand-env=true "$@" &
child=$!
trap 'told=yes; kill -TERM "$child" 2>/dev/null || true' TERM
trap told=yes INT # from a terminal it gets that itself, and a second signal would end it at once
status=127
while
    told=
    wait "$child" && ended=0 || ended=$?
    [ "$ended" -eq 127 ] || status=$ended # 127: how it ended was told before
    [ -n "$told" ] # a trapped signal ends the waiting, not the child
do :; done
[ "$status" -ne 0 ] || rm -f "$running"
exit "$status"
