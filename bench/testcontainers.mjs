// The row of testcontainers: prints the milliseconds from start() until a container has said that it is ready, and listens.
// Run by `cargo xtask bench --testcontainers FOLDER` from a folder whose node_modules has testcontainers.
process.env.TESTCONTAINERS_RYUK_DISABLED ??= "true";
const { GenericContainer, Wait } = await import("testcontainers");
const image = process.argv[2];
const make = () =>
  new GenericContainer(image)
    .withCommand(["sh", "-c", "echo ready; exec httpd -f -p 8080"])
    .withLabels({ bench: "" })
    .withExposedPorts(8080)
    .withWaitStrategy(Wait.forLogMessage("ready"));
// The first finds the engine and its image; a test run has many.
const times = [];
for (let round = 0; round < 4; round++) {
  const begun = performance.now();
  const container = await make().start();
  if (round > 0) times.push(performance.now() - begun);
  await container.stop();
}
times.sort((a, b) => a - b);
console.log(times[1].toFixed(2));
