// Prints, as JSON, the JSON Schemas of what a server may send, as the client that is installed here has them:
// {frame, displayData, settings: {key: schema}, rpcs: {"namespace/endpoint": {schema, mayBeAbsent, serialization}},
// channels: {...}}.
// The schemas of frames, errors and settings are not exported, so that a copy of the package is imported that does it.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { zodToJsonSchema } from "zod-to-json-schema";

const bundle = createRequire(import.meta.url).resolve("@lmstudio/sdk").replace(/\.cjs$/, ".mjs");
const copy = bundle.replace(/index\.mjs$/, "with-schemas.mjs");
const names = "errorDisplayDataSchema, globalConfigSchematics, serverToClientMessageSchema";
writeFileSync(copy, `${readFileSync(bundle, "utf8")}\nexport { ${names} };\n`);
const { LMStudioClient, errorDisplayDataSchema, globalConfigSchematics, serverToClientMessageSchema }
  = await import(copy);

// What zod strips is ignored by the client, and is no fault. Nothing but its absence fits "void".
const converted = schema => schema._def.typeName === "ZodVoid"
  ? { not: {} } : zodToJsonSchema(schema, { removeAdditionalStrategy: "strict" });
const client = new LMStudioClient({ baseUrl: "ws://127.0.0.1:1" });
const result = {
  frame: converted(serverToClientMessageSchema), displayData: converted(errorDisplayDataSchema),
  settings: {}, rpcs: {}, channels: {},
};
for (const [key, { schema }] of globalConfigSchematics.fields) { result.settings[key] = converted(schema); }
for (const [name, port] of Object.entries(client).filter(([, port]) => port?.backendInterface)) {
  const namespace = name.replace(/Port$/, "");
  const { rpcEndpoints, channelEndpoints, signalEndpoints, writableSignalEndpoints } = port.backendInterface;
  for (const [endpoint, { returns, serialization }] of rpcEndpoints) {
    result.rpcs[`${namespace}/${endpoint}`] = {
      schema: converted(returns), mayBeAbsent: returns.isOptional(), serialization,
    };
  }
  for (const [endpoint, { toClientPacket, serialization }] of channelEndpoints) {
    result.channels[`${namespace}/${endpoint}`] = { schema: converted(toClientPacket), serialization };
  }
  if (signalEndpoints.size + writableSignalEndpoints.size > 0) {
    throw new Error(`${namespace} has signals, which are not checked`);
  }
}
process.stdout.write(JSON.stringify(result), () => process.exit(0));
