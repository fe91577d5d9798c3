// A single vote against rejects; otherwise more than half of the active members must be in favour.
export function resolve(proposal, proposerId, votes) {
  if (votes.some((ballot) => !ballot.vote)) return "Rejected";
  let active = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value) => {
    if (ccf.bufToJsonCompatible(value).status === "Active") active++;
  });
  return votes.length > Math.floor(active / 2) ? "Accepted" : "Open";
}
