// What actions are made of: the list of them, checks of arguments, and ways to read and write governance tables.
// Stands before every other piece of the constitution.

class Action {
  // validate(args) throws when the arguments are wrong; apply(args, proposalId) changes tables.
  constructor(validate, apply) {
    this.validate = validate;
    this.apply = apply;
  }
}

const actions = new Map();

function defineAction(name, validate, apply) {
  actions.set(name, new Action(validate, apply));
}

// ---------------------------------------------------------------------------------------------------- arguments

// `type` is a name of typeof, or "array" or "integer"; with a question mark behind, the value may be missing.
function checkType(value, type, field) {
  const missing = value === undefined || value === null;
  if (type.endsWith("?")) {
    if (missing) return;
    type = type.slice(0, -1);
  }
  switch (type) {
    case "array":
      if (!Array.isArray(value)) throw new Error(`${field} must be an array`);
      return;
    case "integer":
      if (!Number.isInteger(value)) throw new Error(`${field} must be an integer`);
      return;
    default:
      if (typeof value !== type || (type === "object" && missing)) {
        throw new Error(`${field} must be of type ${type} but is ${value === null ? "null" : typeof value}`);
      }
  }
}

function checkEnum(value, members, field) {
  if (members.indexOf(value) < 0) throw new Error(`${field} must be one of ${members}`);
}

function checkBounds(value, low, high, field) {
  if (low !== null && value < low) throw new Error(`${field} must be greater than ${low}`);
  if (high !== null && value > high) throw new Error(`${field} must be lower than ${high}`);
}

function checkLength(value, min, max, field) {
  if (min !== null && value.length < min) throw new Error(`${field} must be an array of minimum ${min} elements`);
  if (max !== null && value.length > max) throw new Error(`${field} must be an array of maximum ${max} elements`);
}

function checkArrayLength(value, min, max, field) {
  checkType(value, "array", field);
  checkLength(value, min, max, field);
}

function checkNone(args) {
  if (args !== undefined && args !== null) {
    throw new Error(`Proposal does not accept any argument, found "${args}"`);
  }
}

// Members, users and nodes are named by 32 bytes in hexadecimal.
function checkEntityId(value, field) {
  const characters = 64;
  checkType(value, "string", field);
  if (value.length !== characters) throw new Error(`${field} must contain exactly ${characters} characters`);
  if (/[^0-9a-fA-F]/.test(value)) throw new Error(`${field} contains non-hexadecimal character`);
}

function checkX509CertBundle(value, field) {
  if (!ccf.crypto.isValidX509CertBundle(value)) {
    throw new Error(`${field} must be a valid X509 certificate (bundle) in PEM format`);
  }
}

function hexStrToBuf(text) {
  if (text.length % 2 !== 0 || /[^0-9a-fA-F]/.test(text)) throw new Error("Hex string invalid");
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index++) {
    bytes[index] = parseInt(text.substr(2 * index, 2), 16);
  }
  return bytes.buffer;
}

function checkLowerHex(value, length, field) {
  checkType(value, "string", field);
  if (value !== value.toLowerCase()) throw new Error(`${field} must be a lowercase hex string: ${value}`);
  if (hexStrToBuf(value).byteLength !== length) {
    throw new Error(`${field} must convert to exactly ${length} bytes`);
  }
}

function checkValidCpuid(value, field) {
  checkLowerHex(value, 4, field);
}

function checkValidTcbVersionHex(value, field) {
  checkLowerHex(value, 8, field);
}

// Splits a URL as RFC 3986, appendix B does; an absent part is undefined.
function parseUrl(url) {
  const parts = /^(?:([^:/?#]+):)?(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?/.exec(url);
  if (parts === null) throw new TypeError(`${url} is not a valid URL.`);
  const [, scheme, authority, path, query, fragment] = parts;
  return { scheme, authority, path, query, fragment };
}

// What an identity provider publishes: RFC 7517, with what is needed to make a key of each entry.
function checkJwks(value, field) {
  checkType(value, "object", field);
  checkType(value.keys, "array", `${field}.keys`);
  value.keys.forEach((jwk, index) => {
    const here = `${field}.keys[${index}]`;
    checkType(jwk, "object", here);
    checkType(jwk.kid, "string", `${here}.kid`);
    checkType(jwk.kty, "string", `${here}.kty`);
    if (jwk.x5c) {
      checkArrayLength(jwk.x5c, 1, null, `${here}.x5c`);
      jwk.x5c.forEach((der, position) => {
        checkType(der, "string", `${here}.x5c[${position}]`);
        const pem = ["-----BEGIN CERTIFICATE-----", der, "-----END CERTIFICATE-----"].join("\n");
        checkX509CertBundle(pem, `${here}.x5c[${position}]`);
      });
      return;
    }
    const needed = jwk.n && jwk.e ? ["n", "e"] : jwk.x && jwk.y ? ["x", "y", "crv"] : null;
    if (needed === null) {
      throw new Error("JWK must contain either x5c, or n/e for RSA key type, or x/y/crv for EC key type");
    }
    for (const name of needed) checkType(jwk[name], "string", `${here}.${name}`);
  });
}

// Arguments that bound the life of a certificate.
function checkValidityPeriod(args) {
  checkType(args.valid_from, "string", "valid_from");
  if (args.validity_period_days !== undefined) {
    checkType(args.validity_period_days, "integer", "validity_period_days");
    checkBounds(args.validity_period_days, 1, null, "validity_period_days");
  }
}

// ------------------------------------------------------------------------------------------------------- tables

function govTable(name) {
  return ccf.kv[`public:ccf.gov.${name}`];
}

// The key of a table that holds one value.
function getSingletonKvKey() {
  return new ArrayBuffer(8);
}

// The JSON value at `key`, undefined when there is none.
function readRow(table, key) {
  const value = table.get(key);
  return value === undefined ? undefined : ccf.bufToJsonCompatible(value);
}

function writeRow(table, key, value) {
  table.set(key, ccf.jsonCompatibleToBuf(value));
}

function serviceConfiguration() {
  const config = readRow(govTable("service.config"), getSingletonKvKey());
  if (config === undefined) throw new Error("Service configuration could not be found");
  return config;
}

function serviceInformation(otherwise) {
  const info = readRow(govTable("service.info"), getSingletonKvKey());
  if (info === undefined) throw new Error(otherwise ?? "Service information could not be found");
  return info;
}

// Active members who hold an encryption key, and so take part in a recovery.
function getActiveRecoveryMembersCount() {
  const members = govTable("members.info");
  let count = 0;
  govTable("members.encryption_public_keys").forEach((_, id) => {
    const info = readRow(members, id);
    if (info === undefined) throw new Error(`Recovery member ${ccf.bufToStr(id)} has no information`);
    if (info.status === "Active") count++;
  });
  return count;
}

// Members voted on other open proposals under rules, or for code, that no longer hold: these must be voted on anew.
function invalidateOtherOpenProposals(proposalIdToRetain) {
  const table = govTable("proposals_info");
  const others = [];
  table.forEach((value, key) => {
    const info = ccf.bufToJsonCompatible(value);
    if (info.state === "Open" && ccf.bufToStr(key) !== proposalIdToRetain) others.push([key, info]);
  });
  for (const [key, info] of others) {
    info.state = "Dropped";
    writeRow(table, key, info);
  }
}

// Days that a certificate may live, from those asked for and the most that the service allows.
function allowedDays(asked, most, describe) {
  const limit = most ?? 365;
  if (asked !== undefined && asked > limit) throw new Error(describe(limit));
  return asked ?? limit;
}

function daysOfRenewal(asked, most) {
  return allowedDays(
    asked,
    most,
    (limit) => `Validity period ${asked} (days) is not allowed: service max allowed is ${limit} (days)`,
  );
}

function endorseNode(nodeId, request, validFrom, days) {
  const certificate = ccf.network.generateEndorsedCertificate(request, validFrom, days);
  govTable("nodes.endorsed_certificates").set(ccf.strToBuf(nodeId), ccf.strToBuf(certificate));
}

function setNodeCertificateValidityPeriod(nodeId, nodeInfo, validFrom, validityPeriodDays) {
  const request = nodeInfo.certificate_signing_request;
  if (request === undefined) throw new Error(`Node ${nodeId} has no certificate signing request`);
  const most = serviceConfiguration().maximum_node_certificate_validity_days;
  endorseNode(nodeId, request, validFrom, daysOfRenewal(validityPeriodDays, most));
}

function setServiceCertificateValidityPeriod(validFrom, validityPeriodDays) {
  const most = serviceConfiguration().maximum_service_certificate_validity_days;
  const days = daysOfRenewal(validityPeriodDays, most);
  const certificate = ccf.network.generateNetworkCertificate(validFrom, days);
  const info = serviceInformation("Service info could not be found");
  info.cert = certificate;
  writeRow(govTable("service.info"), getSingletonKvKey(), info);
}

function checkRecoveryThreshold(config, changes) {
  const wanted = changes.recovery_threshold;
  if (wanted === undefined || wanted === config.recovery_threshold) return;
  const { status } = serviceInformation();
  if (status === "WaitingForRecoveryShares") {
    throw new Error(`Cannot set recovery threshold if service is ${status}`);
  }
  const members = status === "Open" ? getActiveRecoveryMembersCount() : wanted;
  if (wanted > members) {
    throw new Error(
      `Cannot set recovery threshold to ${wanted}: recovery threshold would be greater than the number of recovery members ${members}`,
    );
  }
}

function checkReconfigurationType(config, changes) {
  const [from, to] = [config.reconfiguration_type, changes.reconfiguration_type];
  if (to === undefined || from === to) return;
  const forward = (from === undefined || from === "OneTransaction") && to === "TwoTransaction";
  if (!forward) throw new Error(`Cannot change reconfiguration type from ${from} to ${to}.`);
}

const CONFIGURABLE = ["reconfiguration_type", "recovery_threshold", "recent_cose_proposals_window_size"];

function updateServiceConfig(changes) {
  const config = serviceConfiguration();
  checkReconfigurationType(config, changes);
  checkRecoveryThreshold(config, changes);
  const before = config.recovery_threshold;
  for (const name of CONFIGURABLE) {
    if (changes[name] !== undefined) config[name] = changes[name];
  }
  writeRow(govTable("service.config"), getSingletonKvKey(), config);
  // Shares that were made for another threshold would not add up to it.
  if (config.recovery_threshold !== before) ccf.node.triggerRecoverySharesRefresh();
}
