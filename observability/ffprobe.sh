#!/bin/sh
# ffprobe that cannot hang, starve the engine, or read anything but one local audio file.
#
#     ffprobe.sh <ffprobe options> -timeout_seconds <seconds> file:<absolute path>
#
# ffmpeg-python turns every keyword into an option and puts the options before the path, so the limit
# arrives as an option too, and this script takes it out again. ffmpeg.Error carries no exit status,
# so the two reasons that are no fault of the file are written to stderr as one word.

count=$#
limit=
while [ "$count" -gt 0 ]; do
    if [ "$1" = -timeout_seconds ]; then
        limit=$2
        shift 2
        count=$((count - 2))
    else
        set -- "$@" "$1"
        shift
        count=$((count - 1))
    fi
done

if ! command -v ffprobe >/dev/null || ! command -v timeout >/dev/null; then
    echo unavailable >&2
    exit 127
fi

set -- ffprobe -v error -protocol_whitelist file \
    -format_whitelist wav,flac,mp3,ogg,mov,matroska,aac,s16le "$@"
if command -v prlimit >/dev/null; then
    # A forged header may ask for any amount of memory; 2 GiB is five times what ffprobe maps.
    set -- prlimit --cpu=$((${limit%.*} + 1)) --as=2147483648 "$@"
fi

timeout -k 1 "$limit" nice -n 10 "$@" </dev/null
status=$?
case $status in
    124 | 137 | 152) echo timeout >&2 ;;
    126 | 127) echo unavailable >&2 ;;
esac
exit "$status"
