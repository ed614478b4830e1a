// One history entry for a view that is opened on another page. Streamlit makes two: the new values under the old page,
// then the new page; Back would lead to the first, a view that nobody has seen.
const SAME_MS = 5000;

export default function () {
  if (window.sonoscopeHistory) return;
  window.sonoscopeHistory = true;
  const push = history.pushState.bind(history);
  let values = null;
  history.pushState = (state, title, url) => {
    const from = new URL(location.href), to = new URL(url, from), now = performance.now();
    const isSecond = values && now - values.at < SAME_MS && values.href === from.href
      && to.search === from.search && to.pathname !== from.pathname;
    values = to.pathname === from.pathname ? { at: now, href: to.href } : null;
    if (isSecond) history.replaceState(state, title, url);
    else push(state, title, url);
  };
}
