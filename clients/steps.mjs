// What every script in JavaScript has in common: steps with a name, and a count of those that passed.
import assert from "node:assert/strict";

let made = 0;
let passed = 0;

/** Runs a step; one that fails is told and counted, and the others go on. Gives what the step gave. */
export async function step(name, action) {
  made += 1;
  try {
    const result = await action();
    passed += 1;
    return result;
  } catch (error) {
    console.error(`FAILED ${name}\n`, error);
    return undefined;
  }
}

/** The call has to fail, with this status where one is given; gives the error. */
export async function fails(status, action) {
  try {
    await action();
  } catch (error) {
    if (status !== undefined) assert.equal(error.statusCode, status, String(error));
    return error;
  }
  throw new Error("the call succeeded, and should not have");
}

/** Waits up to ten seconds until the condition holds. */
export async function until(what, condition) {
  const end = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Tells the count in the form that `run` reads, and ends the program. */
export function finish() {
  console.log(`${passed} of ${made}`);
  process.exit(passed === made ? 0 : 1);
}

/** All that a stream gives. */
export async function gathered(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}
