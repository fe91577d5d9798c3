// A small constitution: a strict majority of the active members decides.

const ACTIVE_MEMBER = "Active";
const ANY_KEY = new ArrayBuffer(8);

function textOf(table, key) {
  const value = ccf.kv[table].get(key);
  return value === undefined ? undefined : ccf.bufToStr(value);
}

function needString(args, name) {
  if (typeof args[name] !== "string") {
    throw new Error(`${name} must be a string`);
  }
}

const actions = {
  set_user: {
    validate(args) {
      needString(args, "cert");
    },
    apply(args) {
      const id = ccf.strToBuf(ccf.pemToId(args.cert));
      ccf.kv["public:ccf.gov.users.certs"].set(id, ccf.strToBuf(args.cert));
      const info = ccf.kv["public:ccf.gov.users.info"];
      if (args.user_data === undefined) {
        info.delete(id);
      } else {
        info.set(id, ccf.jsonCompatibleToBuf({ user_data: args.user_data }));
      }
    },
  },
  set_constitution: {
    validate(args) {
      needString(args, "constitution");
    },
    apply(args) {
      ccf.kv["public:ccf.gov.constitution"].set(
        ANY_KEY,
        ccf.jsonCompatibleToBuf(args.constitution),
      );
    },
  },
  transition_service_to_open: {
    validate(args) {
      if (args.previous_service_identity !== undefined) {
        needString(args, "previous_service_identity");
      }
      if (args.next_service_identity !== undefined) {
        needString(args, "next_service_identity");
      }
    },
    apply(args) {
      const previous = args.previous_service_identity;
      const next = args.next_service_identity;
      ccf.node.transitionServiceToOpen(
        previous === undefined ? undefined : ccf.strToBuf(previous),
        next === undefined ? undefined : ccf.strToBuf(next),
      );
    },
  },
};

export function validate(text) {
  const problems = [];
  let proposal = {};
  try {
    proposal = JSON.parse(text);
  } catch (error) {
    return { valid: false, description: `not JSON: ${error.message}` };
  }
  if (!Array.isArray(proposal.actions) || proposal.actions.length === 0) {
    return { valid: false, description: "a proposal needs actions" };
  }
  proposal.actions.forEach((action, index) => {
    const known = actions[action.name];
    if (known === undefined) {
      problems.push(`action ${index}: there is no ${action.name}`);
      return;
    }
    try {
      known.validate(action.args || {});
    } catch (error) {
      problems.push(`action ${index}: ${error.message}`);
    }
  });
  return { valid: problems.length === 0, description: problems.join("; ") };
}

export function resolve(text, proposerId, votes, proposalId) {
  let active = 0;
  ccf.kv["public:ccf.gov.members.info"].forEach((value) => {
    if (ccf.bufToJsonCompatible(value).status === ACTIVE_MEMBER) {
      active += 1;
    }
  });
  const counted = votes.filter((ballot) => {
    const info = textOf("public:ccf.gov.members.info", ccf.strToBuf(ballot.member_id));
    return info !== undefined && JSON.parse(info).status === ACTIVE_MEMBER;
  });
  const inFavour = counted.filter((ballot) => ballot.vote === true).length;
  const against = counted.filter((ballot) => ballot.vote === false).length;
  if (2 * inFavour > active) {
    return "Accepted";
  }
  return 2 * against >= active ? "Rejected" : "Open";
}

export function apply(text, proposalId) {
  JSON.parse(text).actions.forEach((action) => {
    actions[action.name].apply(action.args || {});
  });
}
