// Sends requests to a server, and prints the values that `ratelimit-header-parser` reads from each response, as JSON.
//
// node ratelimit.cjs <node_modules> <url> <times> <now|1970: the start of the seconds of the reset>

const path = require("node:path");

const [modules, url, times, since] = process.argv.slice(2);
const { parseRateLimit } = require(path.join(modules, "ratelimit-header-parser"));

/** Rounds down, because the package adds the seconds to a time slightly after `from`. */
function seconds(from, moment) {
  return moment === undefined ? null : Math.floor((moment.getTime() - from) / 1000);
}

async function main() {
  for (let i = 0; i < Number(times); i++) {
    const response = await fetch(url);
    await response.text();
    const from = since === "now" ? Date.now() : 0;
    const { limit, remaining, reset } = parseRateLimit(response);
    const retryAfter = response.headers.get("retry-after");
    const read = {
      status: response.status,
      limit,
      remaining,
      reset: seconds(from, reset),
      retryAfter: retryAfter === null ? null : Number(retryAfter),
    };
    console.log(JSON.stringify(read));
  }
}

main();
