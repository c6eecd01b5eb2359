// SPDX-License-Identifier: MIT
// The shop's front: plain node, nothing from npm. Besides its page it has what a router can be tried with:
//   /healthz  /slow?ms=N  /big?bytes=N  /upload  /status?code=N  /env  and a websocket that echoes, at /echo
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const path = require("path");

const VERSION = process.env.STAGECOACH_VERSION || "dev";
const INSTANCE = process.env.STAGECOACH_INSTANCE || "local";
const PORT = Number(process.env.PORT || 8080);
const HOST = process.env.HOST || "127.0.0.1";
const WEBSOCKET_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const BLOCK = Buffer.alloc(65536, "stagecoach ");

const page = readPage();

function readPage() {
  try {
    return JSON.parse(fs.readFileSync(path.join(__dirname, "dist", "page.json"), "utf8"));
  } catch {
    return { goods: 0, total: 0 };
  }
}

function send(res, status, body, type = "application/json") {
  const text = typeof body === "string" ? body : JSON.stringify(body) + "\n";
  res.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(text) });
  res.end(text);
}

// Who the customer is, says auth; the shop is open to strangers when auth can't be asked.
function askAuth(token, done) {
  if (!process.env.AUTH_URL || !token) return done("stranger");
  const ask = http.get(
    process.env.AUTH_URL,
    { headers: { Host: process.env.AUTH_HOST || "auth", Authorization: token }, timeout: 1000 },
    (answer) => {
      let text = "";
      answer.on("data", (part) => (text += part));
      answer.on("end", () => done(answer.statusCode === 200 ? text.trim() : "stranger"));
    });
  ask.on("timeout", () => ask.destroy());
  ask.on("error", () => done("stranger"));
}

function sendBig(res, bytes) {
  res.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": bytes });
  let left = bytes;
  const more = () => {
    while (left > 0) {
      const part = left < BLOCK.length ? BLOCK.subarray(0, left) : BLOCK;
      left -= part.length;
      if (!res.write(part)) return res.once("drain", more);
    }
    res.end();
  };
  more();
}

function takeUpload(req, res) {
  const hash = crypto.createHash("sha256");
  let bytes = 0;
  req.on("data", (part) => {
    bytes += part.length;
    hash.update(part);
  });
  req.on("end", () => send(res, 200, { bytes, sha256: hash.digest("hex") }));
}

const pages = {
  "/": (req, res) =>
    askAuth(req.headers.authorization, (who) =>
      send(res, 200, { service: "web", version: VERSION, instance: INSTANCE, customer: who, goods: page.goods,
                       total: page.total })),
  "/healthz": (req, res) => send(res, 200, "ok\n", "text/plain"),
  "/slow": (req, res, query) => setTimeout(() => send(res, 200, { version: VERSION }), Number(query.get("ms") || 1000)),
  "/big": (req, res, query) => sendBig(res, Number(query.get("bytes") || 1 << 20)),
  "/upload": takeUpload,
  "/status": (req, res, query) => send(res, Number(query.get("code") || 200), { version: VERSION }),
  "/env": (req, res) => send(res, 200, process.env),
  "/crash": (req, res) => process.exit(7),
};

const server = http.createServer((req, res) => {
  const url = new URL(req.url, "http://shop");
  res.setHeader("X-Version", VERSION);
  res.setHeader("X-Instance", INSTANCE);
  const found = pages[url.pathname];
  if (found) found(req, res, url.searchParams);
  else send(res, 404, { error: "no such page", path: url.pathname });
});
// Longer than a proxy keeps a connection idle, so that it is never this side that closes first.
server.keepAliveTimeout = 65000;

// --- the websocket ---

const sockets = new Set();

server.on("upgrade", (req, socket) => {
  const accept = crypto.createHash("sha1").update(req.headers["sec-websocket-key"] + WEBSOCKET_KEY).digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
               `Sec-WebSocket-Accept: ${accept}\r\nX-Version: ${VERSION}\r\n\r\n`);
  sockets.add(socket);
  let have = Buffer.alloc(0);
  socket.on("data", (part) => {
    have = Buffer.concat([have, part]);
    for (let frame = takeFrame(have); frame; frame = takeFrame(have)) {
      have = have.subarray(frame.used);
      if (frame.opcode === 8) return socket.end(makeFrame(8, frame.data));
      socket.write(makeFrame(frame.opcode === 9 ? 10 : frame.opcode, frame.data));
    }
  });
  socket.on("close", () => sockets.delete(socket));
  socket.on("error", () => socket.destroy());
});

function takeFrame(bytes) {
  if (bytes.length < 2) return null;
  let length = bytes[1] & 127;
  let at = 2;
  if (length === 126) {
    if (bytes.length < 4) return null;
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return null;
    length = Number(bytes.readBigUInt64BE(2));
    at = 10;
  }
  const masked = (bytes[1] & 128) !== 0;
  const end = at + (masked ? 4 : 0) + length;
  if (bytes.length < end) return null;
  const data = Buffer.from(bytes.subarray(end - length, end));
  if (masked) for (let i = 0; i < length; i++) data[i] ^= bytes[at + (i & 3)];
  return { opcode: bytes[0] & 15, data, used: end };
}

function makeFrame(opcode, data) {
  const head = data.length < 126 ? Buffer.alloc(2) : data.length < 65536 ? Buffer.alloc(4) : Buffer.alloc(10);
  head[0] = 128 | opcode;
  if (data.length < 126) head[1] = data.length;
  else if (data.length < 65536) head[1] = 126, head.writeUInt16BE(data.length, 2);
  else head[1] = 127, head.writeBigUInt64BE(BigInt(data.length), 2);
  return Buffer.concat([head, data]);
}

// --- beginning and end ---

process.on("SIGTERM", () => {
  console.log("asked to end: finishing what is under way");
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  for (const socket of sockets) socket.end(makeFrame(8, Buffer.from([0x03, 0xe9])));
});

server.listen(PORT, HOST, () => console.log(`web ${VERSION} listens on ${HOST}:${PORT}`));
