// The app of a sandbox that was given none: a log of messages, each under a number.
//
// Private messages are encrypted in the ledger. Public ones are not; the SHA-256 of a public message is the claims
// digest of its transaction, so that a receipt proves the message to whoever holds both.

const PRIVATE = "log";
const PUBLIC = "public:log";

function refuse(statusCode, message) {
  const code = statusCode === 404 ? "ResourceNotFound" : "InvalidInput";
  return { statusCode, body: { error: { code, message } } };
}

// Keys sort as numbers do when every key has as many digits.
function keyOf(id) {
  return Number.isSafeInteger(id) && id >= 0 ? ccf.strToBuf(String(id).padStart(16, "0")) : null;
}

function idInQuery(request) {
  for (const part of request.query.split("&")) {
    const [name, value] = part.split("=", 2);
    if (name === "id" && /^[0-9]{1,16}$/.test(value ?? "") && Number.isSafeInteger(Number(value))) {
      return Number(value);
    }
  }
  return null;
}

function messageIn(request) {
  try {
    const { id, msg } = request.body.json();
    return keyOf(id) !== null && typeof msg === "string" ? { id, msg } : null;
  } catch {
    return null;
  }
}

function write(table, request) {
  const message = messageIn(request);
  if (message === null) {
    return refuse(400, "expected a whole number 'id' and a text 'msg'");
  }
  const bytes = ccf.strToBuf(message.msg);
  ccf.kv[table].set(keyOf(message.id), bytes);
  if (table === PUBLIC) {
    ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", bytes));
  }
  return { body: true };
}

function read(map, request) {
  const id = idInQuery(request);
  if (id === null) {
    return refuse(400, "expected a whole number 'id' in the query");
  }
  const value = map.get(keyOf(id));
  return value === undefined ? refuse(404, `no message ${id}`) : { body: { msg: ccf.bufToStr(value) } };
}

export function writePrivate(request) {
  return write(PRIVATE, request);
}

export function readPrivate(request) {
  return read(ccf.kv[PRIVATE], request);
}

export function removePrivate(request) {
  const id = idInQuery(request);
  if (id === null) {
    return refuse(400, "expected a whole number 'id' in the query");
  }
  ccf.kv[PRIVATE].delete(keyOf(id));
  return { body: true };
}

export function writePublic(request) {
  return write(PUBLIC, request);
}

export function readPublic(request) {
  return read(ccf.kv[PUBLIC], request);
}

export function readPublicAt(request) {
  const { kv, receipt, transactionId } = ccf.historicalState;
  const answer = read(kv[PUBLIC], request);
  if (answer.statusCode !== undefined) {
    return answer;
  }
  return { body: { ...answer.body, transactionId, receipt } };
}
