// Members whose data says `is_operator`, and who hold no recovery share, look after nodes: what is theirs to do they
// do alone, and on everything else they have no vote.

const OPERATOR_ACTIONS = new Set([
  "add_node_code",
  "add_snp_host_data",
  "add_snp_measurement",
  "add_snp_uvm_endorsement",
  "remove_node",
  "remove_node_code",
  "remove_snp_host_data",
  "remove_snp_measurement",
  "remove_snp_uvm_endorsement",
  "set_all_nodes_certificate_validity",
  "set_node_certificate_validity",
  "set_node_data",
  "set_service_certificate_validity",
  "transition_node_to_trusted",
  "trigger_ledger_chunk",
  "trigger_snapshot",
]);

function memberHas(memberId, mark) {
  const id = ccf.strToBuf(memberId);
  if (ccf.kv["public:ccf.gov.members.encryption_public_keys"].has(id)) return false;
  const info = ccf.kv["public:ccf.gov.members.info"].get(id);
  return info !== undefined && Boolean(ccf.bufToJsonCompatible(info).member_data?.[mark]);
}

function isOperator(memberId) {
  return memberHas(memberId, "is_operator");
}

// An operator may also bring in and send away other operators.
function operatorMay({ name, args }) {
  if (name === "set_member") return Boolean(args.member_data?.is_operator) && !args.encryption_pub_key;
  if (name === "remove_member") return isOperator(args.member_id);
  return OPERATOR_ACTIONS.has(name);
}

export function resolve(proposal, proposerId, votes) {
  if (isOperator(proposerId) && JSON.parse(proposal).actions.every(operatorMay)) return "Accepted";
  let voters = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value, key) => {
    if (ccf.bufToJsonCompatible(value).status === "Active" && !isOperator(ccf.bufToStr(key))) voters++;
  });
  const inFavour = votes.filter((ballot) => ballot.vote && !isOperator(ballot.member_id)).length;
  return inFavour > Math.floor(voters / 2) ? "Accepted" : "Open";
}
