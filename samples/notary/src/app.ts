// A notary: users enter digests of documents into a book, and get receipts that prove when.

import * as ccfapp from "@microsoft/ccf-app";
import { ccf } from "@microsoft/ccf-app/global.js";
import * as book from "./book.js";

/** Most lines in one answer. */
const MAX_PAGE = 100;

/** Seconds for which the node keeps a transaction that it read back from the ledger. */
const KEEP_SECONDS = 60;

interface Problem {
  error: { code: string; message: string };
}

function refuse(statusCode: number, code: string, message: string): ccfapp.Response<Problem> {
  return { statusCode, body: { error: { code, message } } };
}

/** Who calls, as the book names them. */
function callerOf(request: ccfapp.Request): string {
  const caller = request.caller as ccfapp.AuthnIdentity;
  if (caller.policy === "jwt") {
    const token = caller as ccfapp.JwtAuthnIdentity;
    return `token:${token.jwt.keyIssuer}:${token.jwt.payload.sub ?? ""}`;
  }
  return `user:${(caller as ccfapp.UserCertAuthnIdentity).id}`;
}

/** POST /entries: enters a document. */
export function enter(request: ccfapp.Request): ccfapp.Response {
  let asked: { digest?: unknown; note?: unknown };
  try {
    asked = request.body.json();
  } catch {
    return refuse(400, "InvalidInput", "the body is not JSON");
  }
  const note = asked?.note ?? "";
  if (!book.isDigest(asked?.digest)) {
    return refuse(400, "InvalidInput", "'digest' must be the SHA-256 of the document, 64 lower-case hex digits");
  }
  if (typeof note !== "string" || note.length > book.MAX_NOTE_LENGTH) {
    return refuse(400, "InvalidInput", `'note' must be a text of at most ${book.MAX_NOTE_LENGTH} characters`);
  }
  const present = book.find(asked.digest);
  if (present !== undefined) {
    return { statusCode: 409, body: present };
  }
  const entry = book.enter(asked.digest, note, callerOf(request));
  ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", ccf.strToBuf(book.claim(entry))));
  return { statusCode: 201, body: entry };
}

/** GET /entries/{digest}: the entry of a document. */
export function read(request: ccfapp.Request): ccfapp.Response {
  const entry = book.find(request.params.digest);
  return entry === undefined ? refuse(404, "ResourceNotFound", "this document was not entered") : { body: entry };
}

function numberIn(query: string, name: string): number | undefined {
  for (const part of query.split("&")) {
    const at = part.indexOf("=");
    if (part.slice(0, at) === name && /^[0-9]{1,9}$/.test(part.slice(at + 1))) {
      return Number(part.slice(at + 1));
    }
  }
  return undefined;
}

/** GET /entries?first=N&last=N: a page of the book. */
export function list(request: ccfapp.Request): ccfapp.Response {
  const first = Math.max(1, numberIn(request.query, "first") ?? 1);
  const last = Math.min(first + MAX_PAGE - 1, numberIn(request.query, "last") ?? first + MAX_PAGE - 1);
  return { body: { length: book.length(), entries: book.page(first, last) } };
}

/**
 * GET /entries/{digest}/receipt: the entry as its transaction wrote it, the text that its claims digest stands
 * for, and the receipt that proves both. Answers 202 while the node is still reading its ledger.
 */
export function receipt(request: ccfapp.Request): ccfapp.Response {
  const digest = request.params.digest;
  const seqno = book.seqnoOf(digest);
  if (seqno === undefined) {
    return refuse(404, "ResourceNotFound", "this document was not entered");
  }
  const committed = ccf.consensus.getLastCommittedTxId();
  const states = seqno <= committed.seqno ? ccf.historical.getStateRange(seqno, seqno, seqno, KEEP_SECONDS) : null;
  if (states === null) {
    return { statusCode: 202, headers: { "retry-after": "1" }, body: "Not committed yet, or being read. Ask again." };
  }
  const entry = book.findIn(states[0], digest);
  if (entry === undefined) {
    return refuse(500, "InternalError", "the transaction that entered this document does not hold it");
  }
  const { transactionId, receipt } = states[0];
  return { body: { transactionId, entry, claim: book.claim(entry), receipt } };
}
