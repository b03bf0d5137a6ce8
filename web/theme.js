// @ts-check
/** Lets the reader choose between the colors of the system, light and dark, and stores the choice in this browser. */

const KEY = 'mongo-iam-proxy.theme'
const THEMES = /** @type {const} */ (['system', 'light', 'dark'])

/** @param {() => void} onChange */
export function showTheme(onChange) {
  const button = document.getElementById('theme')
  /** @param {string} theme */
  const apply = theme => {
    if (theme === 'system') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = theme
    if (button) button.textContent = `Colors: ${theme}`
  }
  let theme = read()
  apply(theme)
  for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) {
    matchMedia(query).addEventListener('change', onChange)
  }
  if (!button) return
  button.hidden = false
  button.addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'system'
    store(theme)
    apply(theme)
    onChange()
  })
}

/** Storage throws if the browser forbids it. @returns {(typeof THEMES)[number]} */
function read() {
  try {
    const stored = localStorage.getItem(KEY)
    return THEMES.find(theme => theme === stored) ?? 'system'
  } catch {
    return 'system'
  }
}

/** @param {string} theme */
function store(theme) {
  try {
    localStorage.setItem(KEY, theme)
  } catch {
    // The choice ends with the page.
  }
}
