// The peer: Socket.IO with its Redis adapter and the official MongoDB driver.
// usage: node socketio.cjs PORT MONGO_URL DATABASE REDIS_URL
const [port, mongoUrl, database, redisUrl] = process.argv.slice(2);
const http = require("node:http");
const { MongoClient } = require("mongodb");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

async function main() {
  const mongo = new MongoClient(mongoUrl, { writeConcern: { w: "majority", journal: true }, maxPoolSize: 100 });
  await mongo.connect();
  const messages = mongo.db(database).collection("messages");

  const publisher = createClient({ url: redisUrl });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);

  const server = http.createServer();
  const io = new Server(server, { adapter: createAdapter(publisher, subscriber), transports: ["websocket"] });
  io.on("connection", (socket) => {
    const sender = socket.handshake.query.user;
    socket.on("join", (room) => {
      socket.join(room);
      socket.emit("joined", room);
    });
    socket.on("send", async ({ room, cid, body }, ack) => {
      if (!socket.rooms.has(room)) return ack({ error: "forbidden" });
      const document = { room_id: room, sender, cid, kind: "text", body, ts: Date.now() };
      const { insertedId } = await messages.insertOne(document);
      const id = insertedId.toString();
      io.to(room).emit("msg", { id, room, sender, cid, kind: "text", body, ts: document.ts });
      ack({ id, ts: document.ts });
    });
  });
  server.listen(Number(port), "127.0.0.1");
}

main();
