// Requests to the server. The token stays in this tab and goes out in a header only, never in an address.

const KEY = "schwabot.token";

export class ApiError extends Error {
  /** What the server answered, in its own words. */
  constructor(status, code, message, todo) {
    super(message);
    Object.assign(this, { status, code, todo });
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

export function headers(own = token.get()) {
  return own ? { Authorization: `Bearer ${own}` } : {};
}

/** The error that a response tells of. */
export async function problem(response) {
  let told = {};
  try {
    told = (await response.json()).error ?? {};
  } catch {
    // not ours: a proxy's page, say
  }
  const message = told.message ?? `the server answered ${response.status}`;
  return new ApiError(response.status, told.code ?? "unknown", message, told.do ?? "");
}

async function ask(method, path, body, own) {
  const init = { method, headers: headers(own), cache: "no-cache" };
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`/api/v1${path}`, init);
  } catch {
    throw new ApiError(0, "unreachable", "the server can't be reached", "is the run, or mode=serve, still there?");
  }
  if (!response.ok) throw await problem(response);
  return response.json();
}

export const get = (path, own) => ask("GET", path, undefined, own);
export const post = (path, body, own) => ask("POST", path, body, own);
export const patch = (path, body, own) => ask("PATCH", path, body, own);

/** `?a=1&b=2` of what is not empty. */
export function query(values) {
  const some = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return some.length ? `?${new URLSearchParams(some)}` : "";
}
