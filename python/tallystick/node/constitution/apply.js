// Does what an accepted proposal says, one action after the other. An exception undoes all of it.
export function apply(proposal, proposalId) {
  for (const { name, args } of JSON.parse(proposal).actions) {
    actions.get(name).apply(args, proposalId);
  }
}
