#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# Web servers, proxies and a cache: each gives whole objects while they are changed.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

port=8080
backend=8081
chmod 755 "$tmp"
mkdir "$tmp/files"

load() { asked --fill -n "$requests" "$@" http 127.0.0.1 $port; }

# What proxies stand before.
store()
{
	plain_server store python3 "$here/web_store.py" $backend
	serves $backend
}

# Objects are files in memory, replaced by others.
files()
{
	load --files "$tmp/files" -c 16 "$@"
}

# Read into buffers and written from them.
nginx_static()
{
	nginx_start "sendfile off; output_buffers 2 256k;" $port "root $tmp/files;" && files
}

nginx_sendfile()
{
	nginx_start "sendfile on;" $port "root $tmp/files;" && files
}

nginx_proxy()
{
	store
	nginx_start "$nginx_buffers" $port "proxy_pass http://127.0.0.1:$backend;" &&
		load -c 16
}

haproxy()
{
	store
	cat >"$tmp/haproxy.cfg" <<-END
		global
			tune.bufsize 262144
			user www-data
		defaults
			mode http
			timeout connect 60s
			timeout client 60s
			timeout server 60s
		frontend front
			bind 127.0.0.1:$port
			default_backend back
		backend back
			server one 127.0.0.1:$backend
	END
	server haproxy haproxy -db -f "$tmp/haproxy.cfg"
	serves $port && load -c 16
}

# It forks a child that closes all that it does not know; objects are old very soon.
varnish_start()
{
	store
	cat >"$tmp/test.vcl" <<-END
		vcl 4.1;
		backend default { .host = "127.0.0.1"; .port = "$backend"; }
		sub vcl_recv { if (req.method == "PUT") { return (pass); } }
		sub vcl_backend_response { set beresp.ttl = 100ms; set beresp.grace = 0s; }
	END
	server varnish varnishd -F -n "$tmp/varnish" -a 127.0.0.1:$port -f "$tmp/test.vcl" \
		-s malloc,64M
	serves $port
}

varnish() { varnish_start && load --stale -c 16; }

# How often its child was launched.
launched() { [ "$(grep -c "Child launched OK" "$tmp/log-varnish")" -gt "$1" ]; }

# Whatever it says.
answers() { curl -s -m 60 -o "$tmp/answer" "http://127.0.0.1:$port/"; }

# The child is killed again and again, each time that it was forked anew and has answered:
# as soon as it has had the time for a large object.
varnish_killed()
{
	local asking times=0
	varnish_start && load -n 0 || return
	load --stale --lossy -c 8 -n $((requests * 3)) &
	asking=$!
	while sleep 0.1 && ! ended $asking; do
		until_true launched $times && until_true answers || return
		times=$((times + 1))
		for _ in $(seq ${SLOWER:-1}); do
			sleep 0.4
		done
		pkill -KILL -P "$pid"
	done
	wait $asking && ! grep -q "again=0 " "$tmp/client"
}

lighttpd()
{
	cat >"$tmp/lighttpd.conf" <<-END
		server.document-root = "$tmp/files"
		server.bind = "127.0.0.1"
		server.port = $port
		server.network-backend = "writev"
		server.stat-cache-engine = "disable"
		server.username = "www-data"
	END
	server lighttpd lighttpd -D -f "$tmp/lighttpd.conf"
	serves $port && files
}

apache()
{
	cat >"$tmp/apache2.conf" <<-END
		ServerRoot $tmp
		ServerName fbuf
		PidFile $tmp/apache.pid
		Mutex pthread default
		DefaultRuntimeDir $tmp
		LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
		LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
		User www-data
		Group www-data
		Listen 127.0.0.1:$port
		EnableSendfile Off
		EnableMMAP Off
		DocumentRoot $tmp/files
		ErrorLog $tmp/log-apache-errors
		<Directory $tmp/files>
			Require all granted
		</Directory>
	END
	server apache apache2 -d "$tmp" -f "$tmp/apache2.conf" -D FOREGROUND
	# It looks how long a file is, and then opens what may be another.
	serves $port && files --even
}

node()
{
	server node node "$here/web_store.js" $port
	serves $port && load -c 16
}

begin 9
twice nginx_static nginx_static
unsent="the kernel reads the file"
twice nginx_sendfile nginx_sendfile
twice nginx_proxy nginx_proxy
twice haproxy haproxy
twice varnish varnish
twice varnish_killed varnish_killed
unsent="it maps files"
twice lighttpd lighttpd
unsent="it reads files by 8000 bytes"
twice apache apache
twice node node
exit $failed
