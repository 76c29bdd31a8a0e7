#!/bin/sh
# Stands before Ray Serve's HAProxy and makes its configuration the platform's own:
# - its statistics and metrics listen on loopback, its admin socket is its owner's alone;
# - what it answers itself is a problem to try again, as everywhere else. That covers the 404 of a proxy that was
#   started anew and knows no routes yet: a task that was accepted must never be called unknown.
# The configuration keeps its place, because Ray recognises its processes by that path.
set -eu
umask 077
config=""
before=""
for word in "$@"; do
    [ "$before" = "-f" ] && config="$word"
    before="$word"
done
if [ -n "$config" ]; then
    json="$(dirname "$config")/unavailable.json"
    page="$(dirname "$config")/unavailable.http"
    printf '%s' '{"type":"urn:devskyy:problem:unavailable","title":"Not available at the moment","status":503,' \
        '"detail":"no replica answers; one is being started anew, try again","errors":[],"retryable":true}' > "$json"
    printf '%s\r\n' "HTTP/1.1 503 Service Unavailable" "Content-Type: application/problem+json" \
        "Retry-After: 1" "Connection: close" "" > "$page"
    cat "$json" >> "$page"
    again="status 503 content-type application/problem+json file $json hdr Retry-After 1"
    sed -i \
        -e 's/^\( *bind \)\*\{0,1\}:\([0-9]\)/\1127.0.0.1:\2/' \
        -e 's/mode 666 level admin/mode 600 level admin/' \
        -e "s#^\( *errorfile 50[234] \).*#\1$page#" \
        -e "/^backend default_backend/,/^backend [^d]/ s#http-request return status 404 .*#http-request return $again#" \
        -e '/^ *http-response return .* { res.hdr(content-type) -m beg text\/plain }$/d' \
        -e "/^frontend http_frontend/a\\    http-response return $again if { status 404 500:599 } { res.hdr(content-type) -m beg text/plain }" \
        "$config"
fi
exec "$DEVSKYY_HAPROXY_BINARY" "$@"
