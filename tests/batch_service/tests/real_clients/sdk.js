// A day with a Batch service through @azure/batch: `node sdk.js URL ACCOUNT KEY` ends with the number of failures.
const { BatchServiceClient, BatchSharedKeyCredentials } = require("@azure/batch");

const [url, account, key] = process.argv.slice(2);
const client = new BatchServiceClient(new BatchSharedKeyCredentials(account, key), url);
const pool = `js-${Date.now()}`;
const job = `${pool}-job`;
const schedule = `${pool}-schedule`;
const failures = [];

async function tried(name, operation) {
  try {
    return await operation();
  } catch (error) {
    failures.push(name);
    console.log(name, error.code || "", String(error.message || error).slice(0, 300));
  }
}

async function until(name, condition) {
  for (let look = 0; look < 600; look++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  failures.push(name);
}

async function day() {
  const image = { publisher: "canonical", offer: "ubuntu-24_04-lts", sku: "server" };
  const machine = { imageReference: image, nodeAgentSKUId: "batch.node.ubuntu 24.04" };
  const startTask = { commandLine: "/bin/true" };
  const nothing = { certificateReferences: [], applicationPackageReferences: [], metadata: [] };
  await tried("pool statistics", async () => {
    const found = await client.pool.getAllLifetimeStatistics();
    if (!found.usageStats || !found.resourceStats) throw new Error("no statistics");
  });
  await tried("certificates", () => client.certificate.list());
  await tried("images", () => client.account.listSupportedImages());
  await tried("node counts", () => client.account.listPoolNodeCounts());
  await tried("add pool", () =>
    client.pool.add({
      id: pool,
      vmSize: "standard_d2_v2",
      virtualMachineConfiguration: machine,
      targetDedicatedNodes: 1,
      startTask,
    })
  );
  await tried("get pool", () => client.pool.get(pool));
  await tried("pool exists", () => client.pool.exists(pool));
  await tried("list pools", () => client.pool.list());
  await tried("patch pool", () => client.pool.patch(pool, { metadata: [] }));
  await tried("update pool", () => client.pool.updateProperties(pool, { startTask, ...nothing }));
  const nodes = client.computeNodeOperations || client.computeNode;
  await until("an idle node", async () => (await nodes.list(pool)).some((node) => node.state === "idle"));
  const node = (await nodes.list(pool))[0].id;
  await tried("get node", () => nodes.get(pool, node));
  await tried("remote login", () => nodes.getRemoteLoginSettings(pool, node));
  await tried("node files", () => client.file.listFromComputeNode(pool, node));
  await tried("add user", () => nodes.addUser(pool, node, { name: "u", password: "p" }));
  await tried("delete user", () => nodes.deleteUser(pool, node, "u"));
  await tried("add job", () => client.job.add({ id: job, poolInfo: { poolId: pool } }));
  await tried("get job", () => client.job.get(job));
  await tried("list jobs", () => client.job.list());
  await tried("patch job", () => client.job.patch(job, { priority: 3 }));
  await tried("update job", () => client.job.update(job, { poolInfo: { poolId: pool }, priority: 4 }));
  const commandLine = "/bin/sh -c 'echo hello'";
  const many = [...Array(50).keys()].map((number) => ({ id: `t${number}`, commandLine }));
  await tried("add tasks", () => client.task.addCollection(job, many));
  await tried("add task", () => client.task.add(job, { id: "one", commandLine }));
  await tried("list tasks", () => client.task.list(job));
  await until("the last task", async () => (await client.task.get(job, "one")).state === "completed");
  await tried("task counts", () => client.job.getTaskCounts(job));
  await tried("task files", () => client.file.listFromTask(job, "one"));
  await tried("file properties", () => client.file.getPropertiesFromTask(job, "one", "stdout.txt"));
  await tried("task file", () => client.file.getFromTask(job, "one", "stdout.txt"));
  await tried("disable job", () => client.job.disable(job, "requeue"));
  await tried("enable job", () => client.job.enable(job));
  await tried("add schedule", () =>
    client.jobSchedule.add({
      id: schedule,
      schedule: { recurrenceInterval: "PT10M" },
      jobSpecification: { poolInfo: { poolId: pool } },
    })
  );
  await tried("jobs of a schedule", () => client.job.listFromJobSchedule(schedule));
  await tried("delete schedule", () => client.jobSchedule.deleteMethod(schedule));
  await tried("terminate job", () => client.job.terminate(job));
  await tried("delete job", () => client.job.deleteMethod(job));
  await tried("delete pool", () => client.pool.deleteMethod(pool));
  process.exit(failures.length);
}

day();
