/** @file What a hub may say instead of the file, and who gets to see the token. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  commit,
  download,
  expectWhole,
  fillAsPythonDoes,
  folder,
  hub,
  needed,
  settings,
  useLocalHub,
} from "../../test/hub-download.ts";
import { downloadModel } from "./download.ts";

useLocalHub();

describe("token", () => {
  it("goes to the hub and never to the storage host", async () => {
    await download({ token: "hf_secret" });
    const of = (server: string) => new Set(hub.seen.filter((r) => r.server === server).map((r) => r.authorization));
    expect(of("hub")).toEqual(new Set(["Bearer hf_secret"]));
    expect(of("storage")).toEqual(new Set([undefined]));
    expect(hub.seen.some(({ server }) => server === "storage")).toBe(true);
  });

  it("stays behind when the storage host redirects back to the hub", async () => {
    hub.intercept = ({ server, path }, response) => {
      if (server === "storage") {
        response.writeHead(302, { location: `${hub.endpoint}/back${path}` }).end();
      } else if (path.startsWith("/back")) {
        const bytes = needed[path.replace(/^\/back\/signed\/|\?.*$/g, "")] ?? Buffer.of();
        response.writeHead(200, { "content-length": bytes.length }).end(bytes);
      } else {
        return false;
      }
      return true;
    };
    await expectWhole(await download({ token: "hf_secret" }));
    const back = hub.seen.filter(({ path }) => path.startsWith("/back"));
    expect(back.length).toBe(3);
    expect(back.every(({ authorization }) => authorization === undefined)).toBe(true);
  });
});

describe("refusals", () => {
  const refuseFiles = (status: number, code?: string) => {
    hub.intercept = ({ path }, response) => {
      const refused = path.includes("/resolve/");
      if (refused) {
        response.writeHead(status, code === undefined ? {} : { "x-error-code": code }).end();
      }
      return refused;
    };
  };

  it("of a gated model say to accept the licence and set the token", async () => {
    refuseFiles(401, "GatedRepo");
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: `org/model is gated. Accept its licence at ${hub.endpoint}/org/model, then set HF_TOKEN to a token of the account that accepted it.`,
    });
    refuseFiles(403, "GatedRepo");
    await expect(download({ token: "hf_other" })).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/gated.*check that the token \(HF_TOKEN\)/),
    });
  });

  it.each([
    { status: 401, token: undefined, code: "model_not_found", message: expect.stringMatching(/private.*set HF_TOKEN/) },
    {
      status: 401,
      token: "hf_bad",
      code: "download_failed",
      message: expect.stringMatching(/token \(HF_TOKEN\) is not valid/),
    },
    {
      status: 403,
      token: "hf_poor",
      code: "download_failed",
      message: expect.stringMatching(/may not read this model/),
    },
    { status: 403, token: undefined, code: "download_failed", message: expect.stringMatching(/Set HF_TOKEN/) },
    {
      status: 404,
      token: undefined,
      code: "model_not_found",
      message: expect.stringMatching(/no model org\/model at http.*Check the name/),
    },
  ])("with status $status, token $token are $code", async ({ status, token, code, message }) => {
    hub.intercept = (_, response) => {
      response.writeHead(status).end();
      return true;
    };
    await expect(download({ token })).rejects.toMatchObject({ code, message });
    expect(hub.seen.length).toBe(1);
  });

  it("name a revision that does not exist", async () => {
    await expect(download({}, "v9")).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringMatching(/no revision "v9"/),
    });
  });

  it("are not hidden by a cached copy", async () => {
    await fillAsPythonDoes(Object.keys(needed));
    hub.intercept = (_, response) => {
      response.writeHead(403).end();
      return true;
    };
    await expect(download({ token: "hf_revoked" })).rejects.toMatchObject({ code: "download_failed" });
  });

  it("of the storage host name that host; of a listed file that is gone, the file", async () => {
    hub.intercept = ({ server }, response) => {
      if (server === "storage") {
        response.writeHead(403).end();
      }
      return server === "storage";
    };
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/storage server 127\.0\.0\.1/),
    });
    refuseFiles(404, "EntryNotFound");
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/^[\w.-]+ of org\/model@main: .*does not have it/),
    });
  });

  it("of the file system say to choose another cache", async () => {
    await writeFile(join(folder, "file"), "");
    await expect(download({ cacheFolder: join(folder, "file", "hub") })).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/cache .* cannot be used .*ENOTDIR.*HF_HOME/),
    });
  });
});

describe("redirects", () => {
  it("follow a renamed repository within the hub", async () => {
    hub.intercept = ({ server, path }, response) => {
      const renamed = server === "hub" && path.includes("old/name");
      if (renamed) {
        response.writeHead(307, { location: path.replace("old/name", "org/model") }).end();
      }
      return renamed;
    };
    const snapshot = await downloadModel("old/name", "main", { ...settings, token: "hf_secret" });
    expect(snapshot).toBe(join(settings.cacheFolder, "models--old--name", "snapshots", commit));
    await expectWhole(snapshot);
  });

  it("that never end are refused", async () => {
    hub.intercept = ({ path }, response) => {
      response.writeHead(302, { location: path }).end();
      return true;
    };
    await expect(download()).rejects.toMatchObject({
      code: "download_failed",
      message: expect.stringMatching(/circles/),
    });
  });
});
