// The stand-in for SNS and SQS. The command of the package itself listens on
// all addresses.
import { buildApp } from "fauxqs";

const { FAUXQS_HOST: host = "127.0.0.1", FAUXQS_PORT: port } = process.env;

await buildApp({ logger: false }).listen({ host, port: Number(port) });
