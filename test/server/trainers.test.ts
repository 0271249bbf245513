/**
 * @file The functions of examples/trainers, run by Python as their trainers call them: stand-ins for swift's base class and for Pillow's
 * picture, everything else is theirs. Rewards are compared with the server's own for the same conversations.
 */

import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { post, root, startServer, type TestServer } from "./serving.ts";

const hasPython = spawnSync("python3", ["--version"]).status === 0;

describe.skipIf(!hasPython)("functions for trainers (needs python3)", () => {
  let server: TestServer;
  let address: string;
  beforeAll(async () => {
    server = await startServer();
    address = await server.app.listen({ port: 0, host: "127.0.0.1" });
  });
  afterAll(() => server.close());

  const file = path.join(root, "examples/pictures/scene-3.png");
  const picture = `data:image/png;base64,${readFileSync(file).toString("base64")}`;
  const question = "Which colour has the diamond?";
  const answers = ["It is purple.", "It is red.", "Cyan."];
  const asked = (...images: string[]) => ({
    messages: [
      {
        role: "user",
        content: [...images.map((image) => ({ type: "image", image })), { type: "text", text: question }],
      },
    ],
    responses: answers,
  });
  const rewardsOf = async (item: object): Promise<number[]> =>
    (await post(server, "/v1/rewards", { items: [item] })).body.data[0].scores;

  /** -> what the program prints as JSON */
  async function python(program: string): Promise<unknown> {
    const folder = path.join(root, "examples/trainers");
    const child = spawn(
      "python3",
      [
        "-c",
        `import json, sys\nsys.path.insert(0, ${JSON.stringify(folder)})\nsys.dont_write_bytecode = True\n${program}`,
      ],
      {
        env: { ...process.env, VL_REWARD_SERVER: address, no_proxy: "*" },
      },
    );
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    expect(stderr).toBe("");
    return JSON.parse(stdout);
  }
  const quoted = JSON.stringify;

  test("verl: one call a sample, question and pictures from extra_info", async () => {
    const program = `
import asyncio, verl_reward
async def all_of():
    extra = {"question": ${quoted(question)}, "images": [${quoted(file)}]}
    return await asyncio.gather(*[verl_reward.compute_score("set", answer, None, extra) for answer in ${quoted(answers)}])
print(json.dumps(asyncio.run(all_of())))`;
    expect(await python(program)).toEqual(await rewardsOf(asked(picture)));
  });

  test.each([
    [
      "a column of pictures",
      `[[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ${quoted(question)}}]}]] * 3`,
      "images=[[pil]] * 3",
    ],
    [
      "pictures in the parts",
      `[[{"role": "user", "content": [{"type": "image", "image": pil}, {"type": "text", "text": ${quoted(question)}}]}]] * 3`,
      "images=[[pil]] * 3",
    ],
  ])("TRL: %s, the answers to one prompt as one record", async (_, prompts, columns) => {
    const program = `
import trl_grpo
class Picture:
    def save(self, file, format):
        file.write(open(${quoted(file)}, "rb").read())
pil = Picture()
completions = [[{"role": "assistant", "content": answer}] for answer in ${quoted(answers)}]
print(json.dumps(trl_grpo.vl_reward(${prompts}, completions, ${columns})))`;
    expect(await python(program)).toEqual(await rewardsOf(asked(picture)));
  });

  test("TRL: texts, and an answer that cannot be scored is None", async () => {
    const program = `
import trl_grpo
print(json.dumps(trl_grpo.vl_reward([${quoted(question)}] * 3 + [[{"role": "nobody", "content": "?"}]], ${quoted([...answers, "x"])})))`;
    expect(await python(program)).toEqual([...(await rewardsOf(asked())), null]);
  });

  test("ms-swift: rows of messages and pictures as bytes", async () => {
    const program = `
import types
class ORM: pass
orms = {}
swift = types.ModuleType("swift"); rewards = types.ModuleType("swift.rewards")
rewards.ORM, rewards.orms, swift.rewards = ORM, orms, rewards
sys.modules["swift"], sys.modules["swift.rewards"] = swift, rewards
import swift_plugin
data = open(${quoted(file)}, "rb").read()
turns = [{"role": "user", "content": "<image>" + ${quoted(question)}}]
print(json.dumps(orms["vl_reward"]()(${quoted(answers)}, messages=[turns] * 3, images=[[{"bytes": data, "path": None}]] * 3)))`;
    expect(await python(program)).toEqual(await rewardsOf(asked(picture)));
  });

  test("EasyR1: question and pictures in ground_truth", async () => {
    const program = `
import easyr1_reward
truth = json.dumps({"question": ${quoted(question)}, "images": [${quoted(picture)}]})
scores = easyr1_reward.compute_score([{"response": answer, "ground_truth": truth} for answer in ${quoted(answers)}])
print(json.dumps([score["overall"] for score in scores]))`;
    expect(await python(program)).toEqual(await rewardsOf(asked(picture)));
  });
});
