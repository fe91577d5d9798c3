// Whether a proposal can be voted on: every action must exist, and take the arguments that it is given.
export function validate(input) {
  const { actions: proposed } = JSON.parse(input) ?? {};
  if (!Array.isArray(proposed)) return { valid: false, description: "actions must be an array" };
  const errors = proposed.flatMap((action, position) => {
    const definition = actions.get(action?.name);
    if (definition === undefined) return [`${action?.name}: no such action`];
    try {
      definition.validate(action.args);
      return [];
    } catch (error) {
      return [`${action.name} at position ${position} failed validation: ${error}\n${error.stack}`];
    }
  });
  return { valid: errors.length === 0, description: errors.join(", ") };
}
