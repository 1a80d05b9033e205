// testcontainers for Node: waits, ports, networks, files, execs.
import assert from "node:assert/strict";
// Its cleaner is an image of its own, which is fetched from Docker Hub; without it the containers end with the script.
process.env.TESTCONTAINERS_RYUK_DISABLED ??= "true";
const { GenericContainer, Network, Wait, getContainerRuntimeClient } = await import("testcontainers");
const { finish, step } = await import("./steps.mjs");

const page = ["sh", "-c", "echo page > /tmp/index.html; echo up; exec httpd -f -h /tmp -p 8080"];

await step("the engine is found", async () => assert.ok((await getContainerRuntimeClient()).info));
await step("a container that says when it is ready", async () => {
  const container = await new GenericContainer("busybox")
    .withCommand(["sh", "-c", "sleep 0.2; echo ready; sleep 100"]).withWaitStrategy(Wait.forLogMessage("ready")).start();
  const { output, exitCode } = await container.exec(["sh", "-c", "echo x; exit 3"]);
  assert.deepEqual([output, exitCode], ["x\n", 3]);
  await container.stop();
});
await step("a port that answers", async () => {
  const container = await new GenericContainer("busybox").withCommand(page).withExposedPorts(8080)
    .withWaitStrategy(Wait.forHttp("/", 8080)).start();
  const answer = await fetch(`http://${container.getHost()}:${container.getMappedPort(8080)}/`);
  assert.equal(await answer.text(), "page\n");
  await container.stop();
});
await step("the wait for listening ports", async () => {
  const container = await new GenericContainer("busybox").withCommand(page).withExposedPorts(8080).start();
  await container.stop();
});
await step("a health check", async () => {
  const container = await new GenericContainer("busybox").withCommand(["sleep", "100"])
    .withHealthCheck({ test: ["CMD-SHELL", "exit 0"], interval: 200, timeout: 1000, retries: 3, startPeriod: 0 })
    .withWaitStrategy(Wait.forHealthCheck()).start();
  await container.stop();
});
await step("a network with an alias", async () => {
  const network = await new Network().start();
  const server = await new GenericContainer("busybox").withCommand(page).withNetwork(network).withNetworkAliases("server")
    .withWaitStrategy(Wait.forLogMessage("up")).start();
  const peer = await new GenericContainer("busybox").withCommand(["sleep", "100"]).withNetwork(network).start();
  const { output } = await peer.exec(["sh", "-c", "for i in 1 2 3 4 5; do wget -qO- http://server:8080/ && break; sleep 0.2; done"]);
  assert.ok(output.includes("page"), output);
  await peer.stop();
  await server.stop();
  await network.stop();
});
await step("content that is copied in and out", async () => {
  const container = await new GenericContainer("busybox").withCommand(["sleep", "100"])
    .withCopyContentToContainer([{ content: "copied", target: "/tmp/file", mode: 0o640 }]).start();
  const { output } = await container.exec(["sh", "-c", "cat /tmp/file; stat -c %a /tmp/file"]);
  assert.equal(output, "copied640\n");
  const archive = await container.copyArchiveFromContainer("/tmp/file");
  let bytes = 0;
  for await (const part of archive) bytes += part.length;
  assert.ok(bytes >= 1024);
  await container.stop();
});
await step("environment, user, folder, memory, labels", async () => {
  const container = await new GenericContainer("busybox").withCommand(["sleep", "100"]).withEnvironment({ A: "b" }).withUser("1000")
    .withWorkingDir("/tmp").withResourcesQuota({ memory: 0.1, cpu: 0.5 }).withLabels({ a: "b" }).withTmpFs({ "/t": "rw,size=1m" }).start();
  const { output } = await container.exec(["sh", "-c", "echo $A $(id -u) $(pwd)"]);
  assert.equal(output, "b 1000 /tmp\n");
  await container.restart({ timeout: 0 });
  await container.stop();
});
await step("logs", async () => {
  const lines = [];
  const container = await new GenericContainer("busybox").withCommand(["sh", "-c", "echo one; sleep 0.2; echo two; sleep 100"])
    .withLogConsumer((stream) => stream.on("data", (line) => lines.push(String(line)))).withWaitStrategy(Wait.forLogMessage("two")).start();
  await container.stop();
  assert.ok(lines.join("").includes("one"));
});
finish();
