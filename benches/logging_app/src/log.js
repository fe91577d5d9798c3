// The smallest app that reads and writes: messages by number, in a private table.

const records = ccf.kv["records"];

function idOf(query) {
  const match = /(?:^|&)id=([0-9]+)(?:&|$)/.exec(query);
  if (match === null) {
    throw new Error("query names no id");
  }
  return ccf.strToBuf(match[1]);
}

export function read(request) {
  const message = records.get(idOf(request.query));
  if (message === undefined) {
    return { statusCode: 404, body: { error: { code: "ResourceNotFound", message: "no such record" } } };
  }
  return { body: { msg: ccf.bufToStr(message) } };
}

export function write(request) {
  const { id, msg } = request.body.json();
  if (typeof msg !== "string" || msg.length === 0) {
    return { statusCode: 400, body: { error: { code: "InvalidInput", message: "there is no message" } } };
  }
  records.set(ccf.strToBuf(String(id)), ccf.strToBuf(msg));
  return { body: true };
}
