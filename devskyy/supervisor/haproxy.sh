#!/bin/sh
# Stands before Ray Serve's HAProxy and makes its configuration the platform's own:
# - its statistics and metrics listen on loopback, wherever the doors do; its admin socket is its owner's alone;
# - what it answers itself is a problem to try again, as everywhere else. That covers the 404 of a proxy that was
#   started anew and knows no routes yet: a task that was accepted must never be called unknown. A request that
#   cannot be used is a problem too, and none to try again; so is one whose head is longer than 15 KiB, for which it
#   gets room to read twice as much. Only a head that HAProxy cannot even parse, has no room for or waits for in vain
#   gets its built-in page, in HTML: that is written before any setting for errors counts;
# - a caller is who connects, and the replica is told so: it believes X-Forwarded-For. Otherwise every caller behind a
#   proxy of the operator's own would be a stranger from another machine, and be refused;
# - who connects and says nothing, or half a head, is let go after ten seconds, and who stops within a body, or takes
#   nothing of an answer, after a minute: Ray waits for an hour. The replica refuses such a body earlier, but only
#   HAProxy can close the connection. An answer that takes its time, and a stream with pauses, are not cut: in those,
#   nothing is waited for from the client;
# - who hangs up is missed at once. With `option splice-request` HAProxy 2.8 stops looking at a client whose body came
#   in a packet of its own: it drops the connection that epoll says is closed (EPOLLRDHUP) without a word to the replica,
#   and finds out when it has written to it twice. Bodies are small, so nothing is lost without it.
# The configuration keeps its place, because Ray recognises its processes by that path.
set -eu
umask 077

# problem STATUS REASON CODE TITLE DETAIL RETRYABLE: write the problem as STATUS.json, and as a whole answer STATUS.http
problem() {
    printf '{"type":"urn:devskyy:problem:%s","title":"%s","status":%s,"detail":"%s","errors":[],"retryable":%s}' \
        "$3" "$4" "$1" "$5" "$6" > "$place/$1.json"
    {
        printf '%s\r\n' "HTTP/1.1 $1 $2" "Content-Type: application/problem+json"
        [ "$1" != 503 ] || printf '%s\r\n' "Retry-After: 1"
        printf '%s\r\n' "Connection: close" ""
        cat "$place/$1.json"
    } > "$place/$1.http"
}

config=""
before=""
for word in "$@"; do
    [ "$before" = "-f" ] && config="$word"
    before="$word"
done
if [ -n "$config" ]; then
    place="$(dirname "$config")/problems"
    mkdir -p "$place"
    problem 503 "Service Unavailable" unavailable "Not available at the moment" \
        "no replica answers; one is being started anew, try again" true
    problem 400 "Bad Request" bad-request "The request cannot be used" \
        "it is malformed" false
    problem 408 "Request Timeout" request-timeout "The request did not arrive" \
        "the whole request must arrive in time; try again" true
    problem 413 "Content Too Large" too-large "The request is too large" "send less at a time" false
    problem 431 "Request Header Fields Too Large" head-too-large "The head of the request is too large" \
        "its path and headers may have 15 KiB together" false
    long="status 431 content-type application/problem+json file $place/431.json"
    again="status 503 content-type application/problem+json file $place/503.json hdr Retry-After 1"
    unread="status 400 content-type application/problem+json file $place/400.json"
    plain="{ res.hdr(content-type) -m beg text/plain }"
    sed -i \
        -e '/^frontend http_frontend/,/^ *bind /!s/^\( *bind \)\*\{0,1\}:\([0-9]\)/\1127.0.0.1:\2/' \
        -e 's/mode 666 level admin/mode 600 level admin/' \
        -e '/^ *errorfile \(400\|408\|413\|500\) /d' \
        -e "s#^\( *errorfile 50[234] \).*#\1$place/503.http#" \
        -e "/^ *errorfile 502 /i\    errorfile 400 $place/400.http\n    errorfile 408 $place/408.http" \
        -e "/^ *errorfile 502 /i\    errorfile 413 $place/413.http\n    errorfile 500 $place/503.http" \
        -e "/^backend default_backend/,/^backend [^d]/ s#http-request return status 404 .*#http-request return $again#" \
        -e '/^ *http-response return .* { res.hdr(content-type) -m beg text\/plain }$/d' \
        -e '/^ *option splice-request$/d' \
        -e '/^ *timeout http-request /d' \
        -e '/^defaults/a\    timeout http-request 10s' \
        -e 's/^\( *timeout client \).*/\160s/' \
        -e '/^ *http-request set-header X-Forwarded-For /d' \
        -e 's/^\( *tune.bufsize \).*/\132768/' \
        -e '/txn[.]head/d' \
        -e "/^frontend http_frontend/a\    http-request set-var(txn.head) req.hdrs,length" \
        -e "/^frontend http_frontend/a\    http-request return $long if { url,length,add(txn.head) gt 15360 }" \
        -e "/^frontend http_frontend/a\    http-request set-header X-Forwarded-For %[src]" \
        -e "/^frontend http_frontend/a\    http-response return $unread if { status 400 } $plain" \
        -e "/^frontend http_frontend/a\    http-response return $again if { status 404 500:599 } $plain" \
        "$config"
fi
exec "$DEVSKYY_HAPROXY_BINARY" "$@"
