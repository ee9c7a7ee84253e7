#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# What sends files: openssl s_server by TLS, encrypted by the kernel; nginx by the same;
# socat; curl uploading.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

port=4433
backend=8081
chmod 755 "$tmp"
mkdir "$tmp/files"

certificate()
{
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$tmp/key" -out "$tmp/cert" \
		-subj /CN=fbuf -days 2 >/dev/null 2>&1
}

# How many connections the kernel encrypts, or did.
kernel_tls() { awk '$1 == "TlsTxSw" { n = $2 } END { print n + 0 }' /proc/net/tls_stat; }

# by_kernel OPTION...: ask for what it encrypts.
by_kernel()
{
	local before
	before=$(kernel_tls)
	asked --fill --tls "$@" http 127.0.0.1 $port || return
	[ "$(kernel_tls)" -gt "$before" ] && return
	echo "the kernel encrypted nothing" >"$tmp/err-tls"
	return 1
}

# It has one connection at a time, and reads files by 16 KiB.
s_server()
{
	cat >"$tmp/openssl.cnf" <<-END
		openssl_conf = all
		[all]
		ssl_conf = ssl
		[ssl]
		system_default = default
		[default]
		Options = KTLS
	END
	cd "$tmp/files" || return
	OPENSSL_CONF=$tmp/openssl.cnf server openssl openssl s_server -accept 127.0.0.1:$port \
		-cert "$tmp/cert" -key "$tmp/key" -WWW -quiet
	cd "$here" || return
	serves $port &&
		by_kernel --files "$tmp/files" --once -n $((requests / 20)) -c 1 --slow 0
}

# What it has from a server behind it, it sends from its buffers.
nginx_tls()
{
	plain_server store python3 "$here/web_store.py" $backend
	until_true has_port $backend
	nginx_start "$nginx_buffers" "$port ssl; ssl_certificate $tmp/cert;
			ssl_certificate_key $tmp/key; ssl_conf_command Options KTLS" \
		"proxy_pass http://127.0.0.1:$backend;" && by_kernel -n "$requests" -c 16
}

# Through a relay of two, each of which reads and writes with one buffer.
socat_file()
{
	local i status=0
	head -c 20000000 /dev/urandom >"$tmp/big"
	for i in 1 2 3; do
		plain_server receiver socat -u "TCP-LISTEN:$port,reuseaddr" "CREATE:$tmp/got"
		serves $port || return
		(under "$mode" socat -u -b 262144 "OPEN:$tmp/big" "TCP:127.0.0.1:$port") \
			2>"$tmp/log-socat" || return
		until_true ended "$pid"
		cmp "$tmp/big" "$tmp/got" >"$tmp/err-cmp" || status=1
	done
	rm -f "$tmp/big" "$tmp/got"
	return $status
}

# Both ways at once: what comes back is what the store has.
socat_relay()
{
	plain_server store python3 "$here/store.py" $backend
	until_true has_port $backend
	server relay socat -b 131072 "TCP-LISTEN:$port,reuseaddr,fork" "TCP:127.0.0.1:$backend"
	serves $port && asked --fill -n "$requests" -c 8 tcp 127.0.0.1 $port
}

# Each object is put by a curl of its own; then all are asked for.
curl_upload()
{
	local i
	plain_server store python3 "$here/web_store.py" $backend
	until_true has_port $backend
	"$here/client" --fill --files "$tmp/files" -n 0 http 127.0.0.1 $backend || return
	for i in $(seq 0 15); do
		(under "$mode" curl -sS -T "$tmp/files/k$i" "http://127.0.0.1:$backend/k$i") \
			>"$tmp/log-curl" 2>&1 || return
	done
	asked -n 100 -w 0 http 127.0.0.1 $backend
}

certificate
begin 5
min=4K
[ "$(printf '6.5\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.5 ] ||
	unsent="its parts are not one run, as kTLS wants it before Linux 6.5"
twice s_server s_server
twice nginx_tls nginx_tls
min=32K
twice socat_file socat_file
twice socat_relay socat_relay
twice curl_upload curl_upload
exit $failed
