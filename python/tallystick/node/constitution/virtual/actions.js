// Trust in nodes without attestation hardware, for development. Belongs behind actions.js.

defineTrust(
  "add_virtual_measurement",
  "remove_virtual_measurement",
  "nodes.virtual.measurements",
  "measurement",
  allowedToJoin,
  (args) => checkType(args.measurement, "string", "measurement"),
);

defineTrust(
  "add_virtual_host_data",
  "remove_virtual_host_data",
  "nodes.virtual.host_data",
  "host_data",
  () => getSingletonKvKey(),
  (args) => checkType(args.host_data, "string", "host_data"),
);
