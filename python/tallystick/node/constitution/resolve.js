// More than half of the active members must be for a proposal. Votes against it do not end it: minds change.
export function resolve(proposal, proposerId, votes) {
  let active = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value) => {
    if (ccf.bufToJsonCompatible(value).status === "Active") active++;
  });
  const inFavour = votes.filter((ballot) => ballot.vote).length;
  return inFavour > Math.floor(active / 2) ? "Accepted" : "Open";
}
