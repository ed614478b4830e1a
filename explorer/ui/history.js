// The browser's Back, one entry for each view that was seen; and the view's name for screen readers, when it changes.
//
// A view that is opened on another page: Streamlit makes two entries, the new values under the old page, then the new
// page; Back would lead to the first, a view that nobody has seen. A choice of how to look (`options`) makes none of its
// own. Values that mean nothing here (`dropped`) leave the address without one.
const SAME_MS = 5000;

function names(one, other) {
  const all = new Set([...one.keys(), ...other.keys()]);
  return [...all].filter((name) => one.getAll(name).join("\n") !== other.getAll(name).join("\n"));
}

function install(options) {
  const push = history.pushState.bind(history);
  let values = null;
  history.pushState = (state, title, url) => {
    const from = new URL(location.href), to = new URL(url, from), now = performance.now();
    const isSecond = values && now - values.at < SAME_MS && values.href === from.href
      && to.search === from.search && to.pathname !== from.pathname;
    const isSame = to.pathname === from.pathname;
    const changed = names(from.searchParams, to.searchParams);
    const isChoice = isSame && changed.every((name) => options.has(name));
    values = isSame ? { at: now, href: to.href } : null;
    if (isSecond || isChoice) history.replaceState(state, title, url);
    else push(state, title, url);
  };
}

function say(view) {
  let said = document.getElementById("sonoscope-said");
  if (!said) {
    said = document.createElement("div");
    said.id = "sonoscope-said";
    said.setAttribute("role", "status");
    said.setAttribute("aria-live", "polite");
    said.style.cssText = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap";
    document.body.append(said);
    window.sonoscopeView = view;       // the first view is told by the page's title
  }
  if (window.sonoscopeView === view) return;
  window.sonoscopeView = view;
  said.textContent = view;
}

function take(dropped) {
  const url = new URL(location.href);
  const there = dropped.filter((name) => url.searchParams.has(name));
  if (!there.length) return;
  there.forEach((name) => url.searchParams.delete(name));
  history.replaceState(history.state, "", url);
}

export default function ({ data }) {
  if (!window.sonoscopeHistory) {
    window.sonoscopeHistory = true;
    install(new Set(data.options));
  }
  take(data.dropped);
  say(data.view);
}
