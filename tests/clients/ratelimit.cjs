// Asks a server so many times, and prints what `ratelimit-header-parser` reads in each response, as JSON.
//
// node ratelimit.cjs <node_modules> <url> <times> <now|1970: since when seconds of reset are counted>

const path = require("node:path");

const [modules, url, times, since] = process.argv.slice(2);
const { parseRateLimit } = require(path.join(modules, "ratelimit-header-parser"));

/** Rounds down: the package counts from when it reads, which is a moment after `from`. */
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
