// The notary's rules, on the package's stand-in for a node's key-value store.

import "@microsoft/ccf-app/polyfill.js";
import * as ccfapp from "@microsoft/ccf-app";
import { ccf } from "@microsoft/ccf-app/global.js";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { beforeEach, test } from "node:test";
import * as app from "../src/app.js";

const USER: ccfapp.UserCertAuthnIdentity = { policy: "user_cert", id: "ab".repeat(32), data: null, cert: "" };
const TOKEN: ccfapp.JwtAuthnIdentity = {
  policy: "jwt",
  jwt: { keyIssuer: "https://issuer.example", header: {}, payload: { sub: "alice" } },
};

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

let claimed: string | undefined;

beforeEach(() => {
  for (const name of ["entries", "lines", "count"]) {
    ccf.kv[`public:notary.${name}`].clear();
  }
  claimed = undefined;
  ccf.rpc.setClaimsDigest = (digest) => {
    claimed = Buffer.from(digest).toString("hex");
  };
});

function request(body: string, caller: ccfapp.AuthnIdentity = USER, more: object = {}): ccfapp.Request {
  return {
    headers: {}, params: {}, url: "", path: "", route: "", query: "", method: "POST", hostname: "",
    body: { text: () => body, json: () => JSON.parse(body), arrayBuffer: () => ccf.strToBuf(body) },
    caller,
    ...more,
  };
}

const enter = (document: string, note?: string, caller?: ccfapp.AuthnIdentity) =>
  app.enter(request(JSON.stringify({ digest: sha256(document), note }), caller));

test("lines are numbered in order, and name who entered them", () => {
  assert.deepEqual(enter("first", "a title").body, {
    line: 1, digest: sha256("first"), note: "a title", by: `user:${USER.id}`,
  });
  assert.deepEqual(enter("second", undefined, TOKEN).body, {
    line: 2, digest: sha256("second"), note: "", by: "token:https://issuer.example:alice",
  });
});

test("the claims digest is that of the entry", () => {
  enter("first", "a title");
  assert.equal(claimed, sha256(JSON.stringify([1, sha256("first"), "a title", `user:${USER.id}`])));
});

test("a document is entered once, and its entry stays as it is", () => {
  const first = enter("first", "a title");
  claimed = undefined;
  const again = enter("first", "another title", TOKEN);
  assert.equal(first.statusCode, 201);
  assert.equal(again.statusCode, 409);
  assert.deepEqual(again.body, first.body);
  assert.equal(claimed, undefined);
  assert.equal(app.list(request("")).body.length, 1);
});

test("what is no entry is refused", () => {
  const bodies = ["", "null", "[]", "{}", '{"digest": "abc"}', JSON.stringify({ digest: sha256("x").toUpperCase() }),
    JSON.stringify({ digest: sha256("x"), note: 5 }), JSON.stringify({ digest: sha256("x"), note: "x".repeat(501) })];
  for (const body of bodies) {
    assert.equal(app.enter(request(body)).statusCode, 400, body);
  }
  assert.deepEqual(app.list(request("")).body, { length: 0, entries: [] });
});

test("entries are found by their document and by the page", () => {
  for (let index = 0; index < 150; index++) {
    enter(`document ${index}`);
  }
  const page = (query: string) => app.list(request("", USER, { query })).body.entries.map((e: { line: number }) => e.line);
  assert.equal(page("").length, 100);
  assert.deepEqual(page("first=149"), [149, 150]);
  assert.deepEqual(page("first=3&last=4"), [3, 4]);
  assert.deepEqual(page("first=0&last=1"), [1]);
  assert.deepEqual(page("first=x&last=1"), [1]);
  assert.equal(app.read(request("", USER, { params: { digest: sha256("document 7") } })).body.line, 8);
  assert.equal(app.read(request("", USER, { params: { digest: sha256("unknown") } })).statusCode, 404);
});
