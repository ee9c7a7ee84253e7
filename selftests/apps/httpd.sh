#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # numbers; functions are given to others
# httpd, one of the examples: what it answers, to whom, and that each byte is right.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/apps/apps.sh
. "$here/apps.sh"

needs curl wrk openssl python3
requests=${REQUESTS:-10000}
log=$((32 << 20))

rules() { python3 "$here/http_rules.py" "$port" 2>"$tmp/err-rules"; }
a_log() { python3 "$here/log.py" "$port" "$server" $log 2>"$tmp/err-log"; }

# load OPTION...: each byte of what comes is looked at, while objects are replaced.
load()
{
	"$here/client" --seconds 300 --fill "$@" http 127.0.0.1 "$port" >"$tmp/client" 2>"$tmp/err-client" ||
		return
	echo "# $(cat "$tmp/client")"
}

# Objects of many sizes, there and back.
curl_has_equal_bytes()
{
	local size url
	for size in 0 1 4095 4096 65535 65536 65537 1048576 3000000 20000000; do
		url=http://127.0.0.1:$port/file-$size
		head -c $size /dev/urandom >"$tmp/there"
		curl -sS -f -T "$tmp/there" "$url" -o "$tmp/err-put" &&
			curl -sS -f "$url" -o "$tmp/back" 2>"$tmp/err-curl" &&
			cmp "$tmp/there" "$tmp/back" >"$tmp/err-cmp" || return
	done
	# Parts of it by one connection.
	curl -sS -f -r 1000000-1999999 "$url" -o "$tmp/part1" -r 1000000-1999999 --next \
		-sS -f -r 19999990- "$url" -o "$tmp/part2" 2>"$tmp/err-curl" &&
		[ "$(head -c 2000000 "$tmp/there" | tail -c 1000000 | cksum)" = \
			"$(cksum <"$tmp/part1")" ] &&
		[ "$(tail -c 10 "$tmp/there" | cksum)" = "$(cksum <"$tmp/part2")" ]
}

# No error, and the bytes of whole answers.
wrk_finds_no_error()
{
	local size connections
	for size in 4096 65536 1048576; do
		head -c $size /dev/urandom | curl -sS -f -T - -H "Content-Length: $size" \
			-H "Transfer-Encoding:" "http://127.0.0.1:$port/w" >"$tmp/err-put" || return
		for connections in 1 16; do
			wrk -t 1 -c $connections -d 4 "http://127.0.0.1:$port/w" >"$tmp/wrk" 2>&1
			echo "# $size x $connections: $(grep 'requests in' "$tmp/wrk")"
			grep -q "[1-9][0-9]* requests in" "$tmp/wrk" &&
				! grep -qE "Socket errors|Non-2xx" "$tmp/wrk" && continue
			mv "$tmp/wrk" "$tmp/err-wrk"
			return 1
		done
	done
}

# All at once, or as many as we may have files.
ten_thousand()
{
	local some=10000
	if [ "$(ulimit -n)" -lt 10100 ]; then
		some=$(($(ulimit -n) - 100))
		echo "# $some connections: the limit of open files"
	fi
	load -c "$some" --sizes 1000,40000 -n "$((some * 2))" --slow 10 --rcvbuf 16K
}

certificate()
{
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
		-keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>"$tmp/err-openssl"
}

tls_has_equal_bytes()
{
	local version url=https://localhost:$port/tls
	head -c 3000000 /dev/urandom >"$tmp/there"
	for version in 1.2 1.3; do
		curl -sS -f --cacert "$tmp/cert.pem" --tls-max $version -T "$tmp/there" $url \
			-o "$tmp/err-put" &&
			curl -sS -f --cacert "$tmp/cert.pem" --tlsv$version --tls-max $version \
				$url -o "$tmp/back" 2>"$tmp/err-curl" &&
			cmp "$tmp/there" "$tmp/back" >"$tmp/err-cmp" || return
	done
}

# Some bytes of an object are written where it lies, while it is in flight: each client
# gets what there was before a change or after it, and OpenSSL finds each record whole.
changed() { python3 "$here/changed.py" "$port" "$@" 2>"$tmp/err-changed"; }

# The body of a PUT is where the network put it, and goes with the object.
body_is_in_parcels()
{
	head -c 3000000 /dev/urandom >"$tmp/there"
	curl -sS -f -T "$tmp/there" "http://127.0.0.1:$port/kept" >"$tmp/err-put" &&
		"$here/fbuf" pool --json >"$tmp/err-pool" &&
		curl -sS -f "http://127.0.0.1:$port/kept" -o "$tmp/back" 2>"$tmp/err-curl" &&
		cmp "$tmp/there" "$tmp/back" >"$tmp/err-cmp" &&
		[ "$(parcel_bytes)" -gt 2800000 ] &&
		curl -sS -f -X DELETE "http://127.0.0.1:$port/kept" 2>"$tmp/err-curl" &&
		"$here/fbuf" pool --json >"$tmp/err-pool" && [ "$(parcel_bytes)" = 0 ]
}

parcel_bytes() { sed -n 's/.*"parcel_bytes": *\([0-9]*\).*/\1/p' "$tmp/err-pool"; }

plan 18
with "httpd -m 64M" http_rules rules
with "httpd -m 64M -s" http_rules_snapshot rules
with "httpd -m 96M -l $log" log_is_followed_and_bounded a_log
with httpd curl_has_equal_bytes curl_has_equal_bytes
with httpd wrk_finds_no_error wrk_finds_no_error
with "httpd -m 128M" objects_replaced_under_load load -c 32 -n "$requests" -w 20
with "httpd -m 128M -s" objects_replaced_under_load_snapshot load -c 32 -n "$requests" -w 20
# Long ones are replaced while a queue still has some of them to send.
with "httpd -m 512M" objects_replaced_while_queued load --even --sizes 1000,100K,8M -k 6 \
	-c 24 -n $((requests / 25)) -w 20
with httpd a_thousand_connections load -c 1000 -n "$((requests * 2))" --slow 25
with httpd ten_thousand_connections ten_thousand
with "httpd -m 128M -s" changed_in_place changed
with "httpd -m 64M -r" http_rules_parcels rules
with "httpd -r" parcels_have_equal_bytes curl_has_equal_bytes
with "httpd -m 128M -r" objects_replaced_under_load_parcels load -c 32 -n "$requests" -w 20
with "httpd -m 128M -s -r" changed_parcels changed
if [ "${FBUF_BACKEND-}" = module ]; then
	with "httpd -r" body_is_in_parcels body_is_in_parcels
else
	skip body_is_in_parcels "copied without the module"
fi
if [ -e /proc/net/tls_stat ] || modprobe tls 2>/dev/null; then
	certificate
	with "httpd -m 128M -c $tmp/cert.pem -k $tmp/key.pem" tls_has_equal_bytes \
		tls_has_equal_bytes
	with "httpd -m 128M -s -c $tmp/cert.pem -k $tmp/key.pem" tls_changed_in_place \
		changed "$tmp/cert.pem"
else
	skip tls_has_equal_bytes "this kernel has no kTLS"
	skip tls_changed_in_place "this kernel has no kTLS"
fi
exit $failed
