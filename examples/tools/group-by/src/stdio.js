// Text on WASI streams. The engine has no TextEncoder, and a loop over bytes is slow in it, so UTF-8
// goes through `escape` and `decodeURIComponent`, which are native.

import { getStdin } from "wasi:cli/stdin@0.2.0";
import { getStdout } from "wasi:cli/stdout@0.2.0";
import { getStderr } from "wasi:cli/stderr@0.2.0";

/** Bytes of one read. */
const READ_SIZE = 65536;

/** Bytes of one write: `blocking-write-and-flush` takes no more. */
const WRITE_SIZE = 4096;

/** Arguments of one call, well below what the stack holds. */
const CALL_SIZE = 4096;

/** One character a byte. */
function toBinary(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += CALL_SIZE) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + CALL_SIZE));
  }
  return text;
}

/** Standard input to its end. Throws a URIError when it is not UTF-8. */
export function readInput() {
  const stream = getStdin();
  const parts = [];
  for (;;) {
    try {
      parts.push(toBinary(stream.blockingRead(READ_SIZE)));
    } catch (error) {
      if (error.payload?.tag !== "closed") throw error;
      return decodeURIComponent(escape(parts.join("")));
    }
  }
}

function write(stream, text) {
  const binary = unescape(encodeURIComponent(text));
  for (let at = 0; at < binary.length; at += WRITE_SIZE) {
    const part = binary.slice(at, at + WRITE_SIZE);
    stream.blockingWriteAndFlush(Uint8Array.from(part, (byte) => byte.charCodeAt(0)));
  }
}

export function writeOutput(text) {
  write(getStdout(), text);
}

export function writeLog(text) {
  write(getStderr(), text);
}
