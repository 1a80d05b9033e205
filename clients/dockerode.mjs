// dockerode: the life of containers, hijacked attach and exec, streams, archives, images, networks, volumes, events, errors.
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import Docker from "dockerode";
import { fails, finish, gathered, step, until } from "./steps.mjs";

const docker = new Docker(); // DOCKER_HOST
const labels = { clients: "dockerode" };
const filters = { label: ["clients=dockerode"] };

async function clean() {
  for (const one of await docker.listContainers({ all: true, filters })) {
    await docker.getContainer(one.Id).remove({ force: true, v: true });
  }
  for (const one of await docker.listNetworks({ filters })) await docker.getNetwork(one.Id).remove();
  for (const one of (await docker.listVolumes({ filters })).Volumes ?? []) await docker.getVolume(one.Name).remove({ force: true });
}

const create = (name, Cmd, more = {}) =>
  docker.createContainer({ Image: "busybox", name: `ode-${name}`, Cmd, Labels: labels, ...more });

/** Both streams of a framed stream as text. */
async function split(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  const both = Promise.all([gathered(out), gathered(err)]);
  docker.modem.demuxStream(stream, out, err);
  stream.on("end", () => (out.end(), err.end()));
  stream.on("close", () => (out.end(), err.end()));
  return (await both).map(String);
}

await clean();
await step("ping", async () => assert.equal(String(await docker.ping()), "OK"));
await step("version", async () => assert.equal((await docker.version()).Os, "linux"));
await step("info", async () => assert.ok((await docker.info()).ID));
await step("df", async () => assert.ok((await docker.df()).Images));

await step("run", async () => {
  const out = new PassThrough();
  const text = gathered(out);
  const [data, container] = await docker.run("busybox", ["sh", "-c", "echo hello; exit 3"], out, { Labels: labels, Tty: false });
  out.end();
  assert.equal(data.StatusCode, 3);
  assert.ok(String(await text).includes("hello"));
  await container.remove();
});
await step("run with a terminal", async () => {
  const out = new PassThrough();
  const text = gathered(out);
  const [data] = await docker.run("busybox", ["tty"], out, { Labels: labels, Tty: true, HostConfig: { AutoRemove: true } });
  out.end();
  assert.equal(data.StatusCode, 0);
  assert.equal(String(await text), "/dev/pts/0\r\n");
});

const life = await step("create", () => create("life", ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"], { OpenStdin: true }));
await step("start", () => life.start());
await step("start again", () => fails(304, () => life.start()));
await step("inspect", async () => assert.equal((await life.inspect()).State.Running, true));
await step("inspect with sizes", async () => assert.ok((await life.inspect({ size: true })).SizeRootFs > 0));
await step("list", async () => assert.equal((await docker.listContainers({ filters: JSON.stringify(filters) })).length, 1));
await step("top", async () => assert.ok((await life.top({ ps_args: "aux" })).Titles.includes("COMMAND")));
await step("stats, one", async () => assert.ok((await life.stats({ stream: false })).read));
await step("stats, stream", async () => {
  const stream = await life.stats({ stream: true });
  await new Promise((resolve) => stream.once("data", resolve));
  stream.destroy();
});
await step("pause", async () => (await life.pause(), assert.equal((await life.inspect()).State.Paused, true)));
await step("unpause", () => life.unpause());
await step("update", async () => {
  await life.update({ Memory: 64 << 20, MemorySwap: 128 << 20 });
  assert.equal((await life.inspect()).HostConfig.Memory, 64 << 20);
});
await step("rename", () => life.rename({ name: "ode-other" }));
await step("resize", () => life.resize({ h: 20, w: 80 }));
await step("exec", async () => {
  const exec = await life.exec({ Cmd: ["sh", "-c", "echo o; echo e >&2; exit 4"], AttachStdout: true, AttachStderr: true });
  assert.deepEqual(await split(await exec.start({})), ["o\n", "e\n"]);
  assert.equal((await exec.inspect()).ExitCode, 4);
});
await step("exec, hijacked", async () => {
  const exec = await life.exec({ Cmd: ["cat"], AttachStdin: true, AttachStdout: true });
  const stream = await exec.start({ hijack: true, stdin: true });
  const texts = split(stream);
  stream.write("through\n");
  stream.end();
  assert.deepEqual(await texts, ["through\n", ""]);
  await until("its end", async () => !(await exec.inspect()).Running);
});
await step("exec, terminal", async () => {
  const exec = await life.exec({ Cmd: ["sh", "-c", "stty size"], AttachStdin: true, AttachStdout: true, Tty: true, ConsoleSize: [33, 111] });
  assert.equal(String(await gathered(await exec.start({ hijack: true, stdin: true, Tty: true }))).trim(), "33 111");
});
await step("exec, no command", async () => {
  const exec = await life.exec({ Cmd: ["no-such-command"], AttachStdout: true });
  await exec.start({}).then(gathered, () => undefined);
  await until("its end", async () => !(await exec.inspect()).Running);
  assert.notEqual((await exec.inspect()).ExitCode, 0);
});
await step("attach before start, both ways", async () => {
  const container = await create("attach", ["sh", "-c", "read x; echo got $x; echo err >&2"], {
    OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
  });
  const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
  const texts = split(stream);
  await container.start();
  stream.write("text\n");
  assert.deepEqual(await texts, ["got text\n", "err\n"]);
  assert.equal((await container.wait()).StatusCode, 0);
  await container.remove();
});
await step("logs", async () => {
  const container = await create("logs", ["sh", "-c", "for i in 1 2 3; do echo $i; done; sleep 0.3; echo last"]);
  await container.start();
  const [followed] = await split(await container.logs({ follow: true, stdout: true, stderr: true }));
  assert.equal(followed, "1\n2\n3\nlast\n");
  const tail = await container.logs({ follow: false, stdout: true, tail: 1 });
  assert.equal(String(tail.subarray(8)), "last\n");
  await container.remove();
});
await step("archives", async () => {
  const container = await create("archive", ["true"]);
  const header = Buffer.alloc(512);
  header.write("file");
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write("00000000003\0", 124);
  header.write("00000000000\0        0", 136);
  header.write("ustar\0" + "00", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(sum.toString(8).padStart(6, "0") + "\0 ", 148);
  const body = Buffer.alloc(512);
  body.write("abc");
  await container.putArchive(Buffer.concat([header, body, Buffer.alloc(1024)]), { path: "/tmp" });
  const back = await gathered(await container.getArchive({ path: "/tmp/file" }));
  assert.ok(back.includes("abc"));
  const info = await container.infoArchive({ path: "/tmp/file" });
  assert.ok(info.headers?.["x-docker-container-path-stat"] ?? info);
  await fails(404, () => container.getArchive({ path: "/no/such" }));
  assert.ok((await container.changes()).some((one) => one.Path === "/tmp/file"));
  assert.ok((await gathered(await container.export())).length > 1000);
  const made = await container.commit({ repo: "ode-committed", tag: "1" });
  assert.ok(made.Id);
  await docker.getImage("ode-committed:1").remove();
  await container.remove();
});
await step("wait and kill", async () => {
  const waiting = life.wait();
  await life.kill({ signal: "SIGTERM" });
  assert.equal((await waiting).StatusCode, 7);
});
await step("restart", () => life.restart({ t: 1 }));
await step("stop", () => life.stop({ t: 5 }));
await step("stop again", () => fails(304, () => life.stop()));
await step("remove", () => life.remove());
await step("gone", () => fails(404, () => life.inspect()));
await step("a taken name", async () => {
  const first = await create("taken", ["true"]);
  await fails(409, () => create("taken", ["true"]));
  await first.remove();
});
await step("no image", () => fails(404, () => docker.createContainer({ Image: "no-such-image:1" })));

await step("images", async () => assert.ok((await docker.listImages()).some((one) => one.RepoTags?.includes("busybox:latest"))));
await step("image", async () => assert.ok((await docker.getImage("busybox").inspect()).RepoTags.length));
await step("history", async () => assert.ok((await docker.getImage("busybox").history()).length));
await step("tag and untag", async () => {
  await docker.getImage("busybox").tag({ repo: "ode-tagged", tag: "2" });
  assert.deepEqual(await docker.getImage("ode-tagged:2").remove(), [{ Untagged: "ode-tagged:2" }]);
});
await step("save and load", async () => {
  const saved = await gathered(await docker.getImage("busybox:latest").get());
  const progress = await docker.loadImage(PassThrough.from([saved]));
  const texts = await new Promise((resolve, reject) =>
    docker.modem.followProgress(progress, (error, list) => (error ? reject(error) : resolve(list))));
  assert.ok(JSON.stringify(texts).includes("Loaded image"));
});
await step("images pruned", () => docker.pruneImages({ filters: { label: ["clients=dockerode"] } }));

await step("networks", async () => {
  const network = await docker.createNetwork({ Name: "ode-net", Labels: labels, IPAM: { Config: [{ Subnet: "10.213.8.0/24" }] } });
  const container = await create("member", ["sleep", "100"], { StopSignal: "SIGKILL" });
  await container.start();
  await network.connect({ Container: container.id, EndpointConfig: { Aliases: ["other"], IPAMConfig: { IPv4Address: "10.213.8.9" } } });
  assert.equal((await container.inspect()).NetworkSettings.Networks["ode-net"].IPAddress, "10.213.8.9");
  assert.equal(Object.keys((await network.inspect()).Containers).length, 1);
  await fails(403, () => network.remove());
  await network.disconnect({ Container: container.id, Force: true });
  await container.remove({ force: true });
  await network.remove();
  await docker.pruneNetworks({ filters });
});
await step("volumes", async () => {
  await docker.createVolume({ Name: "ode-volume", Labels: labels });
  assert.equal((await docker.listVolumes({ filters })).Volumes.length, 1);
  const container = await create("user", ["true"], { HostConfig: { Binds: ["ode-volume:/v"] } });
  await fails(409, () => docker.getVolume("ode-volume").remove());
  await container.remove({ v: true });
  await docker.getVolume("ode-volume").remove();
  await docker.pruneVolumes({ filters });
});
await step("events", async () => {
  const stream = await docker.getEvents({ filters: { type: ["container"], label: ["clients=dockerode"] } });
  let text = "";
  stream.on("data", (part) => (text += part));
  const container = await create("event", ["true"]);
  await container.start();
  await container.wait();
  await container.remove();
  await until("the events", () => ["create", "start", "die", "destroy"].every((action) => text.includes(`"Action":"${action}"`)));
  stream.destroy();
});
await step("containers pruned", () => docker.pruneContainers({ filters }));
await step("no swarm", () => fails(503, () => docker.listServices()));
await clean();
finish();
