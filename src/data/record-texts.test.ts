import { expect, it } from "vitest";
import { readRecordTexts } from "./record-texts.ts";

const texts = (record: unknown) => readRecordTexts(JSON.stringify(record), 7);

it("gives the texts of turns and answers, and no pictures", () => {
  const picture = { type: "image_url", image_url: { url: "a.png" } };
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: [picture, { type: "text", text: "What is it?" }] },
  ];
  expect(texts({ messages, responses: ["A cat.", "A dog."], scores: [1, 0] })).toEqual({
    id: 7,
    value: ["Be brief.", "What is it?", "A cat.", "A dog."],
  });
  expect(texts({ id: "x", messages, chosen: "Yes.", rejected: "No." })).toMatchObject({
    id: "x",
    value: ["Be brief.", "What is it?", "Yes.", "No."],
  });
});

it("reads whole conversations as answers", () => {
  const ask = { role: "user", content: "2+2?" };
  const conversation = (content: string) => [ask, { role: "assistant", content }];
  expect(texts({ chosen: conversation("4"), rejected: conversation("5") })).toMatchObject({
    value: ["2+2?", "4", "5"],
  });
});

it("tells what is wrong with a line", () => {
  expect(texts({ responses: "a" })).toMatchObject({ id: 7, error: { code: "invalid_record" } });
  expect(readRecordTexts("{", 0)).toMatchObject({ error: { code: "invalid_json" } });
});
