// For trying things out: whatever an active member proposes is done at once.
export function resolve(proposal, proposerId, votes) {
  return "Accepted";
}
