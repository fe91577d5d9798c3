// Rules for tests: a strict majority of active members decides; more against than that rejects.

const only = new ArrayBuffer(8);
const gov = (name) => ccf.kv[`public:ccf.gov.${name}`];
const text = (value) => ccf.strToBuf(value);
const json = (value) => ccf.jsonCompatibleToBuf(value);

function dropOthers(kept) {
  gov("proposals_info").forEach((value, key, table) => {
    const info = ccf.bufToJsonCompatible(value);
    if (ccf.bufToStr(key) !== kept && info.state === "Open") {
      table.set(key, json({ ...info, state: "Dropped" }));
    }
  });
}

const actions = {
  set_user(args) {
    const id = text(ccf.pemToId(args.cert));
    gov("users.certs").set(id, text(args.cert));
    gov("users.info").delete(id);
  },
  set_member(args) {
    const id = text(ccf.pemToId(args.cert));
    gov("members.certs").set(id, text(args.cert));
    gov("members.info").set(id, json({ status: "Accepted" }));
    const signature = ccf.kv["public:ccf.internal.signatures"].get(only);
    gov("members.acks").set(id, json({ state_digest: ccf.bufToJsonCompatible(signature).root }));
  },
  set_constitution(args, id) {
    ccf.gov.validateConstitution(args.constitution);
    gov("constitution").set(only, json(args.constitution));
    dropOthers(id);
  },
  trust_code(args, id) {
    gov("nodes.virtual.measurements").set(text(args.measurement), json("AllowedToJoin"));
    dropOthers(id);
  },
  renew_node(args) {
    const info = ccf.bufToJsonCompatible(gov("nodes.info").get(text(args.node_id)));
    const csr = info.certificate_signing_request;
    const pem = ccf.network.generateEndorsedCertificate(csr, args.valid_from, args.days);
    gov("nodes.endorsed_certificates").set(text(args.node_id), text(pem));
  },
  renew_service(args) {
    const info = ccf.bufToJsonCompatible(gov("service.info").get(only));
    info.cert = ccf.network.generateNetworkCertificate(args.valid_from, args.days);
    gov("service.info").set(only, json(info));
  },
  set_application(args) {
    for (const [key, value] of Object.entries(args)) {
      ccf.kv["public:application"].set(text(key), text(value));
    }
  },
  transition_service_to_open(args) {
    const previous = args.previous_service_identity;
    const buffer = previous === undefined ? undefined : text(previous);
    ccf.node.transitionServiceToOpen(buffer, text(args.next_service_identity));
  },
  refresh_shares() {
    ccf.node.triggerRecoverySharesRefresh();
  },
  end_chunk() {
    ccf.node.triggerLedgerChunk();
  },
  nothing() {},
  fail() {
    throw new Error("this action always fails");
  },
};

export function validate(input) {
  const unknown = JSON.parse(input).actions.filter(({ name }) => !(name in actions));
  return { valid: unknown.length === 0, description: unknown.map(({ name }) => name).join() };
}

export function resolve(input, proposer, votes) {
  let active = 0;
  gov("members.info").forEach((value) => {
    active += ccf.bufToJsonCompatible(value).status === "Active" ? 1 : 0;
  });
  const yes = votes.filter(({ vote }) => vote).length;
  if (2 * yes > active) {
    return "Accepted";
  }
  return 2 * (votes.length - yes) > active ? "Rejected" : "Open";
}

export function apply(input, id) {
  for (const { name, args } of JSON.parse(input).actions) {
    actions[name](args, id);
  }
}
