// SPDX-License-Identifier: GPL-2.0
// web_store.js PORT: keeps what was PUT, and answers GET with it; half of the objects in
// pieces, which node gathers.
"use strict";

const http = require("http");
const objects = new Map();

function put(request, response) {
	const pieces = [];

	request.on("data", (piece) => pieces.push(piece));
	request.on("end", () => {
		objects.set(request.url, Buffer.concat(pieces));
		response.writeHead(201, { "Content-Length": 0 });
		response.end();
	});
}

function get(request, response) {
	const held = objects.get(request.url);

	if (!held) {
		response.writeHead(404, { "Content-Length": 0 });
		response.end();
		return;
	}
	response.writeHead(200, { "Content-Length": held.length });
	if (held.length % 2)
		for (let at = 0; at < held.length; at += 100000)
			response.write(held.subarray(at, at + 100000));
	else
		response.write(held);
	response.end();
}

http.createServer((request, response) => {
	(request.method === "PUT" ? put : get)(request, response);
}).listen(Number(process.argv[2]), "127.0.0.1");
