// What members can propose: for each action, how its arguments are checked when it is proposed, and what it does
// once it is accepted. Further pieces may follow that add actions with `actions.set(name, new Action(validate, apply))`.

// ------------------------------------------------------------------------------------------ rules of the service

defineAction(
  "set_constitution",
  (args) => {
    checkType(args.constitution, "string", "constitution");
    ccf.gov.validateConstitution(args.constitution);
  },
  (args, proposalId) => {
    writeRow(govTable("constitution"), getSingletonKvKey(), args.constitution);
    invalidateOtherOpenProposals(proposalId);
  },
);

defineAction(
  "set_service_configuration",
  (args) => {
    for (const key in args) {
      if (!CONFIGURABLE.includes(key)) throw new Error(`Cannot change ${key} via set_service_configuration.`);
    }
    checkType(args.reconfiguration_type, "string?", "reconfiguration type");
    checkType(args.recovery_threshold, "integer?", "recovery threshold");
    checkBounds(args.recovery_threshold, 1, 254, "recovery threshold");
    const window = args.recent_cose_proposals_window_size;
    checkType(window, "integer?", "recent cose proposals window size");
    checkBounds(window, 1, 10000, "recent cose proposals window size");
  },
  (args) => updateServiceConfig(args),
);

defineAction(
  "set_recovery_threshold",
  (args) => {
    checkType(args.recovery_threshold, "integer", "threshold");
    checkBounds(args.recovery_threshold, 1, 254, "threshold");
  },
  (args) => updateServiceConfig({ recovery_threshold: args.recovery_threshold }),
);

defineAction(
  "transition_service_to_open",
  (args) => {
    checkType(args.next_service_identity, "string", "next service identity (PEM certificate)");
    checkX509CertBundle(args.next_service_identity, "next_service_identity");
    checkType(args.previous_service_identity, "string?", "previous service identity (PEM certificate)");
    if (args.previous_service_identity !== undefined) {
      checkX509CertBundle(args.previous_service_identity, "previous_service_identity");
    }
  },
  (args) => {
    const { next_service_identity: next, previous_service_identity: previous } = args;
    const recovering = serviceInformation().status === "Recovering";
    if (recovering && (previous === undefined || next === undefined)) {
      throw new Error("Opening a recovering network requires both, the previous and the next service identity");
    }
    const previousBuffer = previous === undefined ? undefined : ccf.strToBuf(previous);
    ccf.node.transitionServiceToOpen(previousBuffer, ccf.strToBuf(next));
  },
);

// Protects the other actions of a proposal from being applied to a service that its author did not mean.
defineAction(
  "assert_service_identity",
  (args) => {
    checkX509CertBundle(args.service_identity, "service_identity");
    if (serviceInformation().cert !== args.service_identity) {
      throw new Error("Service identity certificate mismatch");
    }
  },
  () => {},
);

defineAction("set_service_certificate_validity", checkValidityPeriod, (args) =>
  setServiceCertificateValidityPeriod(args.valid_from, args.validity_period_days),
);

for (const [name, trigger] of [
  ["trigger_recovery_shares_refresh", () => ccf.node.triggerRecoverySharesRefresh()],
  ["trigger_ledger_rekey", () => ccf.node.triggerLedgerRekey()],
]) {
  defineAction(name, checkNone, trigger);
}

for (const [name, trigger] of [
  ["trigger_ledger_chunk", () => ccf.node.triggerLedgerChunk()],
  ["trigger_snapshot", () => ccf.node.triggerSnapshot()],
  ["refresh_js_app_bytecode_cache", () => ccf.refreshAppBytecodeCache()],
]) {
  defineAction(name, () => {}, trigger);
}

// ------------------------------------------------------------------------------------------------ members, users

defineAction(
  "set_member",
  (args) => {
    checkX509CertBundle(args.cert, "cert");
    checkType(args.member_data, "object?", "member_data");
    checkType(args.encryption_pub_key, "string?", "encryption_pub_key");
    const role = args.recovery_role;
    if (role !== undefined) checkEnum(role, ["NonParticipant", "Participant", "Owner"], "recovery_role");
    if (role !== undefined && (args.encryption_pub_key === undefined || args.encryption_pub_key === null)) {
      throw new Error("Cannot specify a recovery_role value when encryption_pub_key is not specified");
    }
  },
  (args) => {
    const id = ccf.strToBuf(ccf.pemToId(args.cert));
    govTable("members.certs").set(id, ccf.strToBuf(args.cert));
    const keys = govTable("members.encryption_public_keys");
    if (args.encryption_pub_key === undefined || args.encryption_pub_key === null) {
      keys.delete(id);
    } else {
      keys.set(id, ccf.strToBuf(args.encryption_pub_key));
    }
    const { member_data, recovery_role } = args;
    writeRow(govTable("members.info"), id, { member_data, recovery_role, status: "Accepted" });
    // The state that the member has to acknowledge before it may vote: the latest that is signed.
    const signature = readRow(ccf.kv["public:ccf.internal.signatures"], getSingletonKvKey());
    writeRow(govTable("members.acks"), id, { state_digest: signature?.root ?? "" });
  },
);

defineAction(
  "remove_member",
  (args) => checkEntityId(args.member_id, "member_id"),
  (args) => {
    const id = ccf.strToBuf(args.member_id);
    const info = readRow(govTable("members.info"), id);
    if (info === undefined) return;
    const holdsShare = info.status === "Active" && govTable("members.encryption_public_keys").has(id);
    if (holdsShare) {
      const threshold = serviceConfiguration().recovery_threshold;
      const left = getActiveRecoveryMembersCount() - 1;
      if (left < threshold) {
        throw new Error(
          `Number of active recovery members (${left}) would be less than recovery threshold (${threshold})`,
        );
      }
    }
    for (const name of ["info", "encryption_public_keys", "certs", "acks"]) {
      govTable(`members.${name}`).delete(id);
    }
    govTable("history").delete(id);
    // From now on the ledger is none of the member's business: what its share could open must not open it.
    if (holdsShare) ccf.node.triggerLedgerRekey();
  },
);

defineAction(
  "set_member_data",
  (args) => {
    checkEntityId(args.member_id, "member_id");
    checkType(args.member_data, "object", "member_data");
  },
  (args) => {
    const [table, id] = [govTable("members.info"), ccf.strToBuf(args.member_id)];
    const info = readRow(table, id);
    if (info === undefined) throw new Error(`Member ${args.member_id} does not exist`);
    info.member_data = args.member_data;
    writeRow(table, id, info);
  },
);

function writeUserData(id, data) {
  const table = govTable("users.info");
  if (data === undefined || data === null) {
    table.delete(id);
  } else {
    writeRow(table, id, { user_data: data });
  }
}

defineAction(
  "set_user",
  (args) => {
    checkX509CertBundle(args.cert, "cert");
    checkType(args.user_data, "object?", "user_data");
  },
  (args) => {
    const id = ccf.strToBuf(ccf.pemToId(args.cert));
    govTable("users.certs").set(id, ccf.strToBuf(args.cert));
    writeUserData(id, args.user_data);
  },
);

defineAction(
  "remove_user",
  (args) => checkEntityId(args.user_id, "user_id"),
  (args) => {
    const id = ccf.strToBuf(args.user_id);
    govTable("users.certs").delete(id);
    govTable("users.info").delete(id);
  },
);

defineAction(
  "set_user_data",
  (args) => {
    checkEntityId(args.user_id, "user_id");
    checkType(args.user_data, "object?", "user_data");
  },
  (args) => writeUserData(ccf.strToBuf(args.user_id), args.user_data),
);

// --------------------------------------------------------------------------------------------------- application

function checkAuthnPolicy(policy, field) {
  // Whether the name is known to anybody shows when the endpoint is called.
  if (typeof policy === "string") return;
  if (typeof policy !== "object" || policy === null) {
    throw new Error(`${field} must be of type string or object but is ${typeof policy}`);
  }
  checkType(policy.all_of, "array", `${field}.all_of`);
  policy.all_of.forEach((name, index) => checkType(name, "string", `${field}.all_of[${index}]`));
}

function checkJsEndpoint(info, field, modules) {
  checkType(info, "object", field);
  checkType(info.js_module, "string", `${field}.js_module`);
  checkType(info.js_function, "string", `${field}.js_function`);
  checkEnum(info.mode, ["readwrite", "readonly", "historical"], `${field}.mode`);
  checkEnum(info.forwarding_required, ["sometimes", "always", "never"], `${field}.forwarding_required`);
  if (info.redirection_strategy !== undefined) {
    checkEnum(info.redirection_strategy, ["none", "to_primary", "to_backup"], `${field}.redirection_strategy`);
  }
  checkType(info.openapi, "object?", `${field}.openapi`);
  checkType(info.openapi_hidden, "boolean?", `${field}.openapi_hidden`);
  checkType(info.authn_policies, "array", `${field}.authn_policies`);
  info.authn_policies.forEach((policy, index) => checkAuthnPolicy(policy, `${field}.authn_policies[${index}]`));
  if (!modules.has(info.js_module)) throw new Error(`module '${info.js_module}' not found in bundle`);
}

function checkJsBundle(bundle) {
  checkType(bundle, "object", "bundle");
  checkType(bundle.modules, "array", "bundle.modules");
  bundle.modules.forEach((module, index) => {
    const here = `bundle.modules[${index}]`;
    checkType(module, "object", here);
    checkType(module.name, "string", `${here}.name`);
    checkType(module.module, "string", `${here}.module`);
  });
  const modules = new Set(bundle.modules.map((module) => module.name));
  checkType(bundle.metadata, "object", "bundle.metadata");
  checkType(bundle.metadata.endpoints, "object", "bundle.metadata.endpoints");
  for (const [url, verbs] of Object.entries(bundle.metadata.endpoints)) {
    const here = `bundle.metadata.endpoints["${url}"]`;
    checkType(verbs, "object", here);
    for (const [verb, info] of Object.entries(verbs)) checkJsEndpoint(info, `${here}["${verb}"]`, modules);
  }
}

defineAction(
  "set_js_app",
  (args) => {
    checkJsBundle(args.bundle);
    checkType(args.disable_bytecode_cache, "boolean?", "disable_bytecode_cache");
  },
  (args) => {
    const [modules, endpoints] = [govTable("modules"), govTable("endpoints")];
    modules.clear();
    endpoints.clear();
    for (const { name, module } of args.bundle.modules) {
      modules.set(ccf.strToBuf(`/${name}`), ccf.strToBuf(module));
    }
    if (args.disable_bytecode_cache) {
      govTable("modules_quickjs_bytecode").clear();
      govTable("modules_quickjs_version").clear();
    } else {
      ccf.refreshAppBytecodeCache();
    }
    writeRow(govTable("interpreter.flush"), getSingletonKvKey(), true);
    for (const [url, verbs] of Object.entries(args.bundle.metadata.endpoints)) {
      for (const [verb, info] of Object.entries(verbs)) {
        info.js_module = `/${info.js_module}`;
        writeRow(endpoints, ccf.strToBuf(`${verb.toUpperCase()} ${url}`), info);
      }
    }
  },
);

defineAction(
  "remove_js_app",
  () => {},
  () => {
    for (const name of [
      "modules",
      "modules_quickjs_bytecode",
      "modules_quickjs_version",
      "interpreter.flush",
      "endpoints",
    ]) {
      govTable(name).clear();
    }
  },
);

defineAction(
  "set_js_runtime_options",
  (args) => {
    for (const name of ["max_heap_bytes", "max_stack_bytes", "max_execution_time_ms"]) {
      checkType(args[name], "integer", name);
    }
    for (const name of ["log_exception_details", "return_exception_details"]) {
      checkType(args[name], "boolean?", name);
    }
    checkType(args.max_cached_interpreters, "integer?", "max_cached_interpreters");
  },
  (args) => writeRow(govTable("js_runtime_options"), getSingletonKvKey(), args),
);

// ------------------------------------------------------------------------------- certificates of others, tokens

defineAction(
  "set_ca_cert_bundle",
  (args) => {
    checkType(args.name, "string", "name");
    checkX509CertBundle(args.cert_bundle, "cert_bundle");
  },
  (args) => writeRow(govTable("tls.ca_cert_bundles"), ccf.strToBuf(args.name), args.cert_bundle),
);

defineAction(
  "remove_ca_cert_bundle",
  (args) => checkType(args.name, "string", "name"),
  (args) => {
    govTable("tls.ca_cert_bundles").delete(ccf.strToBuf(args.name));
  },
);

// Keys are fetched from the issuer itself, so it must be a place, and one that can be told from an impostor.
function checkRefreshable(args) {
  if (!args.ca_cert_bundle_name) {
    throw new Error("ca_cert_bundle_name is missing but required if auto_refresh is true");
  }
  const url = parseUrl(args.issuer);
  if (url.scheme !== "https") {
    throw new Error("issuer must be a URL starting with https:// if auto_refresh is true");
  }
  if (url.query || url.fragment) {
    throw new Error("issuer must be a URL without query/fragment if auto_refresh is true");
  }
}

defineAction(
  "set_jwt_issuer",
  (args) => {
    checkType(args.issuer, "string", "issuer");
    checkType(args.auto_refresh, "boolean?", "auto_refresh");
    checkType(args.ca_cert_bundle_name, "string?", "ca_cert_bundle_name");
    checkType(args.jwks, "object?", "jwks");
    if (args.jwks) checkJwks(args.jwks, "jwks");
    if (args.auto_refresh) checkRefreshable(args);
  },
  (args) => {
    const { jwks, ...metadata } = args;
    const bundle = args.ca_cert_bundle_name;
    if (args.auto_refresh && !govTable("tls.ca_cert_bundles").has(ccf.strToBuf(bundle))) {
      throw new Error(`No CA cert bundle found with name '${bundle}'`);
    }
    if (jwks) ccf.setJwtPublicSigningKeys(args.issuer, metadata, jwks);
    writeRow(govTable("jwt.issuers"), ccf.strToBuf(args.issuer), metadata);
  },
);

defineAction(
  "set_jwt_public_signing_keys",
  (args) => {
    checkType(args.issuer, "string", "issuer");
    checkJwks(args.jwks, "jwks");
  },
  (args) => {
    const metadata = readRow(govTable("jwt.issuers"), ccf.strToBuf(args.issuer));
    if (metadata === undefined) throw new Error(`issuer ${args.issuer} not found`);
    ccf.setJwtPublicSigningKeys(args.issuer, metadata, args.jwks);
  },
);

defineAction(
  "remove_jwt_issuer",
  (args) => checkType(args.issuer, "string", "issuer"),
  (args) => {
    const [issuers, issuer] = [govTable("jwt.issuers"), ccf.strToBuf(args.issuer)];
    if (!issuers.has(issuer)) return;
    issuers.delete(issuer);
    ccf.removeJwtPublicSigningKeys(args.issuer);
  },
);

// ------------------------------------------------------------------------------- code that nodes may join with

// Actions that put a key into a table of what is trusted, and take it out again.
function defineTrust(adding, removing, tableName, field, valueOf, check) {
  defineAction(adding, check, (args, proposalId) => {
    govTable(tableName).set(ccf.strToBuf(args[field]), valueOf(args));
    invalidateOtherOpenProposals(proposalId);
  });
  defineAction(
    removing,
    (args) => checkType(args[field], "string", field),
    (args) => {
      govTable(tableName).delete(ccf.strToBuf(args[field]));
    },
  );
}

function allowedToJoin() {
  return ccf.jsonCompatibleToBuf("AllowedToJoin");
}

defineTrust("add_node_code", "remove_node_code", "nodes.code_ids", "code_id", allowedToJoin, (args) =>
  checkType(args.code_id, "string", "code_id"),
);

defineTrust(
  "add_snp_measurement",
  "remove_snp_measurement",
  "nodes.snp.measurements",
  "measurement",
  allowedToJoin,
  (args) => checkType(args.measurement, "string", "measurement"),
);

defineTrust(
  "add_snp_host_data",
  "remove_snp_host_data",
  "nodes.snp.host_data",
  "host_data",
  (args) => ccf.jsonCompatibleToBuf(args.security_policy),
  (args) => {
    checkType(args.security_policy, "string", "security_policy");
    checkType(args.host_data, "string", "host_data");
    if (args.security_policy === "") return;
    const digest = new Uint8Array(ccf.crypto.digest("SHA-256", ccf.strToBuf(args.security_policy)));
    const expected = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    hexStrToBuf(args.host_data);
    if (expected !== args.host_data.toLowerCase()) {
      throw new Error(`The hash of raw policy ${expected} does not match digest ${args.host_data}`);
    }
  },
);

defineAction(
  "add_snp_uvm_endorsement",
  (args) => {
    for (const name of ["did", "feed", "svn"]) checkType(args[name], "string", name);
  },
  (args, proposalId) => {
    const [table, did] = [govTable("nodes.snp.uvm_endorsements"), ccf.strToBuf(args.did)];
    const feeds = readRow(table, did) ?? {};
    feeds[args.feed] = { svn: args.svn };
    writeRow(table, did, feeds);
    invalidateOtherOpenProposals(proposalId);
  },
);

defineAction(
  "remove_snp_uvm_endorsement",
  (args) => {
    for (const name of ["did", "feed"]) checkType(args[name], "string", name);
  },
  (args) => {
    const [table, did] = [govTable("nodes.snp.uvm_endorsements"), ccf.strToBuf(args.did)];
    const feeds = readRow(table, did) ?? {};
    delete feeds[args.feed];
    if (Object.keys(feeds).length > 0) {
      writeRow(table, did, feeds);
    } else {
      table.delete(did);
    }
  },
);

function defineTcbMinimum(name, check, policyOf) {
  defineAction(
    name,
    (args) => {
      checkValidCpuid(args.cpuid, "cpuid");
      check(args.tcb_version);
    },
    (args, proposalId) => {
      writeRow(govTable("nodes.snp.tcb_versions"), ccf.strToBuf(args.cpuid), policyOf(args));
      invalidateOtherOpenProposals(proposalId);
    },
  );
}

defineTcbMinimum(
  "set_snp_minimum_tcb_version",
  (version) => {
    checkType(version, "object", "tcb_version");
    for (const name of ["boot_loader", "tee", "snp", "microcode"]) {
      checkType(version[name], "number", `tcb_version.${name}`);
    }
  },
  (args) => args.tcb_version,
);

defineTcbMinimum(
  "set_snp_minimum_tcb_version_hex",
  (version) => checkValidTcbVersionHex(version, "tcb_version"),
  (args) => ccf.tcbHexToPolicy(args.cpuid, args.tcb_version),
);

defineAction(
  "remove_snp_minimum_tcb_version",
  (args) => checkValidCpuid(args.cpuid, "cpuid"),
  (args) => {
    const [table, cpuid] = [govTable("nodes.snp.tcb_versions"), ccf.strToBuf(args.cpuid)];
    if (!table.has(cpuid)) throw new Error(`CPUID ${args.cpuid} not found`);
    table.delete(cpuid);
  },
);

// --------------------------------------------------------------------------------------------------------- nodes

function existingNode(id) {
  const info = readRow(govTable("nodes.info"), ccf.strToBuf(id));
  if (info === undefined) throw new Error(`No such node: ${id}`);
  return info;
}

defineAction(
  "set_node_data",
  (args) => checkEntityId(args.node_id, "node_id"),
  (args) => {
    const [table, id] = [govTable("nodes.info"), ccf.strToBuf(args.node_id)];
    const info = readRow(table, id);
    if (info === undefined) throw new Error(`Node ${args.node_id} does not exist`);
    info.node_data = args.node_data;
    writeRow(table, id, info);
  },
);

defineAction(
  "transition_node_to_trusted",
  (args) => {
    checkEntityId(args.node_id, "node_id");
    checkValidityPeriod(args);
  },
  (args) => {
    const config = serviceConfiguration();
    const info = existingNode(args.node_id);
    if (info.status !== "Pending") return;
    info.status = "Trusted";
    info.ledger_secret_seqno = ccf.network.getLatestLedgerSecretSeqno();
    writeRow(govTable("nodes.info"), ccf.strToBuf(args.node_id), info);
    // Nodes of services that began with version 1 may have no request.
    if (info.certificate_signing_request === undefined) return;
    const days = allowedDays(
      args.validity_period_days,
      config.maximum_node_certificate_validity_days,
      (limit) => `Validity period ${args.validity_period_days} is not allowed: max allowed is ${limit}`,
    );
    endorseNode(args.node_id, info.certificate_signing_request, args.valid_from, days);
  },
);

defineAction(
  "remove_node",
  (args) => checkEntityId(args.node_id, "node_id"),
  (args) => {
    const [table, id] = [govTable("nodes.info"), ccf.strToBuf(args.node_id)];
    const info = readRow(table, id);
    if (info === undefined) return;
    if (info.status === "Pending") {
      table.delete(id);
    } else {
      info.status = "Retired";
      writeRow(table, id, info);
    }
  },
);

defineAction(
  "set_node_certificate_validity",
  (args) => {
    checkEntityId(args.node_id, "node_id");
    checkValidityPeriod(args);
  },
  (args) => {
    const info = existingNode(args.node_id);
    if (info.status !== "Trusted") throw new Error(`Node ${args.node_id} is not trusted`);
    setNodeCertificateValidityPeriod(args.node_id, info, args.valid_from, args.validity_period_days);
  },
);

defineAction("set_all_nodes_certificate_validity", checkValidityPeriod, (args) => {
  govTable("nodes.info").forEach((value, key) => {
    const info = ccf.bufToJsonCompatible(value);
    if (info.status !== "Trusted") return;
    setNodeCertificateValidityPeriod(ccf.bufToStr(key), info, args.valid_from, args.validity_period_days);
  });
});
