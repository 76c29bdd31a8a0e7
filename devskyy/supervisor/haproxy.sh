#!/bin/sh
# Stands before Ray Serve's HAProxy: its statistics and metrics listen on loopback, its admin socket is its owner's
# alone, and its own 502-504 are problem details as everywhere else. The configuration keeps its place, because Ray
# recognises its processes by that path.
set -eu
umask 077
config=""
next=""
for word in "$@"; do
    [ "$next" = "-f" ] && config="$word"
    next="$word"
done
if [ -n "$config" ]; then
    problem="$(dirname "$config")/problem.http"
    printf '%s\r\n' "HTTP/1.1 503 Service Unavailable" "Content-Type: application/problem+json" \
        "Retry-After: 1" "Connection: close" "" > "$problem"
    printf '%s' '{"type":"urn:devskyy:problem:unavailable","title":"Not available at the moment","status":503,"detail":"no replica answers; it is being started anew, try again","retryable":true}' >> "$problem"
    sed -i \
        -e 's/^\( *bind \):\([0-9]\)/\1127.0.0.1:\2/' -e 's/^\( *bind \)\*:\([0-9]\)/\1127.0.0.1:\2/' \
        -e 's/mode 666 level admin/mode 600 level admin/' \
        -e "s#^\( *errorfile 50[234] \).*#\1$problem#" \
        "$config"
fi
exec "$DEVSKYY_HAPROXY_BINARY" "$@"
