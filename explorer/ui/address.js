// Where the app's own sounds, pictures and scripts are. Every page is directly below the app's base, whatever path a
// proxy has put before it: an address relative to the page leads there, one from the root of the host does not.
const PAUSES_MS = [700, 2500];
const NOT_IN_STORE = "not-in-store";   // what audio_route says of a clip without a file

function address(kind, name) {
  return new URL(`${kind}/${encodeURIComponent(name)}`, new URL(".", document.baseURI)).href;
}

// The answer to a request for something of this media type. A server in trouble is asked again, twice; the error says
// in `message` why there is none, and has `isNotInStore` when the app itself says that the store lacks it.
async function fetched(url, type) {
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(url).catch(() => null);
    const found = answer?.headers.get("content-type") || "";
    if (answer?.ok && found.startsWith(type)) return answer;
    if (answer && answer.status < 500 || attempt === PAUSES_MS.length) throw await failure(answer, url);
    await new Promise((resolve) => setTimeout(resolve, PAUSES_MS[attempt]));
  }
}

async function failure(answer, url) {
  if (!answer) return new Error("the server does not answer");
  if (answer.ok) return new Error(`something else answers at ${new URL(url).pathname}`);
  const isOurs = answer.headers.get("x-sonoscope");
  const said = isOurs ? (await answer.text().catch(() => "")).trim() : "";
  const error = new Error(said || `the server answers ${answer.status} at ${new URL(url).pathname}`);
  error.isNotInStore = isOurs === NOT_IN_STORE;
  return error;
}
