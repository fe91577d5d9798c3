// Members whose data says `is_operator_provisioner`, and who hold no recovery share, appoint operators: they bring in
// and send away members whose data says `is_operator`, alone, and may propose nothing else. Neither they nor operators
// have a vote.

function memberHas(memberId, mark) {
  const id = ccf.strToBuf(memberId);
  if (ccf.kv["public:ccf.gov.members.encryption_public_keys"].has(id)) return false;
  const info = ccf.kv["public:ccf.gov.members.info"].get(id);
  return info !== undefined && Boolean(ccf.bufToJsonCompatible(info).member_data?.[mark]);
}

function hasVote(memberId) {
  return !memberHas(memberId, "is_operator") && !memberHas(memberId, "is_operator_provisioner");
}

function provisionerMay({ name, args }) {
  if (name === "set_member") return Boolean(args.member_data?.is_operator) && !args.encryption_pub_key;
  return name === "remove_member" && memberHas(args.member_id, "is_operator");
}

export function resolve(proposal, proposerId, votes) {
  if (memberHas(proposerId, "is_operator_provisioner")) {
    return JSON.parse(proposal).actions.every(provisionerMay) ? "Accepted" : "Rejected";
  }
  let voters = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value, key) => {
    if (ccf.bufToJsonCompatible(value).status === "Active" && hasVote(ccf.bufToStr(key))) voters++;
  });
  const inFavour = votes.filter((ballot) => ballot.vote && hasVote(ballot.member_id)).length;
  return inFavour > Math.floor(voters / 2) ? "Accepted" : "Open";
}
