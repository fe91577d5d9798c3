// The book: what was entered, by whom, in which order. Nothing is ever changed or removed.

import * as ccfapp from "@microsoft/ccf-app";

/** One line of the book. */
export interface Entry {
  /** Number of the line, from 1 on. */
  line: number;
  /** Lower-case hex SHA-256 of the document. */
  digest: string;
  /** What the one who entered it wants to say of it; may be empty. */
  note: string;
  /** Who entered it: `user:ID`, or `token:ISSUER:SUBJECT`. */
  by: string;
}

/** Longest note, in characters: a title, not a document. */
export const MAX_NOTE_LENGTH = 500;

const ENTRIES = "public:notary.entries";
const LINES = "public:notary.lines";
const COUNT = "public:notary.count";
const ONLY = "lines";

function entries() {
  return ccfapp.typedKv(ENTRIES, ccfapp.string, ccfapp.json<Entry>());
}

function lines() {
  return ccfapp.typedKv(LINES, ccfapp.uint32, ccfapp.string);
}

function count() {
  return ccfapp.typedKv(COUNT, ccfapp.string, ccfapp.uint32);
}

/** Whether `text` is the hex SHA-256 of something, in lower case. */
export function isDigest(text: unknown): text is string {
  return typeof text === "string" && /^[0-9a-f]{64}$/.test(text);
}

/** How many lines the book has. */
export function length(): number {
  return count().get(ONLY) ?? 0;
}

/** The entry of a document, if it was entered. */
export function find(digest: string): Entry | undefined {
  return entries().get(digest);
}

/** Enters a document, which must not be in the book. */
export function enter(digest: string, note: string, by: string): Entry {
  const entry = { line: length() + 1, digest, note, by };
  entries().set(digest, entry);
  lines().set(entry.line, digest);
  count().set(ONLY, entry.line);
  return entry;
}

/** Lines `first` to `last`, as far as there are any. */
export function page(first: number, last: number): Entry[] {
  const found: Entry[] = [];
  for (let line = first; line <= Math.min(last, length()); line++) {
    const digest = lines().get(line);
    const entry = digest === undefined ? undefined : find(digest);
    if (entry !== undefined) {
      found.push(entry);
    }
  }
  return found;
}

/** Number of the transaction that entered a document. */
export function seqnoOf(digest: string): number | undefined {
  return entries().getVersionOfPreviousWrite(digest);
}

/** The entry of a document in the state that its own transaction wrote. */
export function findIn(state: ccfapp.HistoricalState, digest: string): Entry | undefined {
  return ccfapp.typedKv(state.kv[ENTRIES], ccfapp.string, ccfapp.json<Entry>()).get(digest);
}

/**
 * What a receipt proves of an entry: the SHA-256 of this text is the claims digest of its transaction.
 *
 * Members are in this order, and nothing stands between them, so that everybody makes the same text.
 */
export function claim(entry: Entry): string {
  return JSON.stringify([entry.line, entry.digest, entry.note, entry.by]);
}
