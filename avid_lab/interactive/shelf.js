// Stills that become players when they are pressed. A file comes from the kernel when it is first wanted.

const MOST = 4             // players in a page; the one started longest ago goes back to its still
const PATIENCE_MS = 12000  // then the page says that no kernel answers
const SIGNS = {right: "✓", wrong: "✗"}

/** "0:07", "3:41". */
function clock(seconds) {
    const whole = Math.round(seconds)
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`
}

/** Pause everything that sounds in the page, except one. */
function silence(kept = null) {
    const sounding = document.querySelectorAll(".avid-shelf video:not(.avid-silent), .avid video")
    for (const video of sounding) if (video !== kept) video.pause()
}
globalThis.avidLabSilence ??= document.addEventListener("keydown", event => event.key === "Escape" && silence(), true) ?? true

/** One clip: a still with a button, a sign that it loads, then a player; below it, the way to the rest of its file. */
function makeCell(shelf, fetch, tell) {
    const figure = element("figure", "avid-clip", shelf)
    const screen = element("div", "avid-screen", figure)
    const button = element("button", "avid-start", screen)
    button.type = "button"
    const image = element("img", "", button)
    image.alt = ""
    const glyph = element("span", "avid-glyph", button)
    const badge = element("span", "avid-sign", screen)
    const warning = element("span", "avid-sign avid-faulty", screen)
    badge.ariaHidden = warning.ariaHidden = "true"
    warning.textContent = "!"
    const caption = element("figcaption", "", figure)
    const score = element("span", "avid-score", caption), title = element("b", "", caption)
    const note = element("div", "avid-note", caption), part = element("div", "avid-note avid-part", caption)
    const more = element("button", "avid-whole", caption), along = element("input", "avid-along", caption)
    const problem = element("div", "avid-problem", caption)
    problem.setAttribute("role", "status")
    Object.assign(more, {type: "button", hidden: true})
    Object.assign(along, {type: "range", min: 0, step: 1, hidden: true})
    along.setAttribute("aria-label", "place in the file")
    let item = {key: -1}, video = null, ear = null, timer = 0, going = false  // going: through the whole file

    function rest() {
        clearTimeout(timer)
        figure.dataset.state = "still"
        figure.dataset.plays = false
        button.removeAttribute("aria-busy")
        part.textContent = ""
        more.hidden = along.hidden = true
        if (!video) return
        video.pause()
        URL.revokeObjectURL(video.src)
        video.remove()
        ear?.remove()
        video = ear = null
    }

    function fail(text) {
        rest()
        problem.textContent = text
    }

    function start() {
        if (item.problem || figure.dataset.state === "loading") return
        problem.textContent = ""
        if (video && (video.paused || item.part === "both")) return play()
        if (video) return video.pause()
        going = false
        ask()
    }

    /** Fetch the clip's excerpt, or its file from a second on. */
    function ask(at) {
        if (figure.dataset.state === "loading") return
        video?.pause()
        figure.dataset.state = "loading"
        button.setAttribute("aria-busy", "true")
        timer = setTimeout(() => fail("No answer: is the kernel running? Run the cell, then press again."), PATIENCE_MS)
        try {
            fetch(at)
        } catch {
            fail("Playing needs a running kernel: run the cell.")
        }
    }

    function receive(message, buffers) {
        if (message.key !== item.key || figure.dataset.state !== "loading") return
        if (message.problem) return fail(message.problem)
        const focused = document.activeElement, hadFocus = focused === button
        rest()
        video = element("video", item.part === "picture" ? "avid-silent" : "", screen)
        const controls = item.part === "both"
        Object.assign(video, {controls, loop: item.part === "picture", playsInline: true, disablePictureInPicture: true})
        video.muted = item.part === "picture"
        video.setAttribute("controlslist", "nodownload noplaybackrate noremoteplayback")
        video.setAttribute("aria-label", button.getAttribute("aria-label").replace(/^play /, ""))
        video.dataset.key = item.key
        video.dataset.part = item.part
        video.src = URL.createObjectURL(new Blob([buffers[0]], {type: message.type}))
        if (!video.muted) video.addEventListener("play", alone)
        for (const change of ["play", "pause"]) video.addEventListener(change, sign)
        video.addEventListener("error", () => fail("This browser cannot play the clip."))
        video.addEventListener("retire", rest)
        figure.dataset.state = "player"
        if (buffers[1]) listenTo(video, buffers[1])
        offerTheRest(message)
        if (focused === more || focused === along) (going ? along : more).focus({preventScroll: true})
        const others = [...document.querySelectorAll(".avid-shelf video:not(.avid-silent)")].filter(other => other !== video)
        others.sort((a, b) => a.dataset.started - b.dataset.started)
        others.slice(0, Math.max(0, others.length - MOST + 1)).forEach(other => other.dispatchEvent(new Event("retire")))
        if (hadFocus && controls) video.focus({preventScroll: true})
        play()
    }

    /** The spectrogram of what plays, with a line at the present; pressing it goes there. */
    function listenTo(video, data) {
        ear = element("div", "avid-ear", figure)
        caption.before(ear)
        const picture = element("img", "", ear), now = element("span", "avid-now", ear)
        picture.alt = "spectrogram: time to the right, pitch upwards"
        picture.addEventListener("load", () => URL.revokeObjectURL(picture.src))
        picture.src = URL.createObjectURL(new Blob([data], {type: "image/jpeg"}))
        const move = () => {
            now.style.left = `${(100 * video.currentTime) / video.duration || 0}%`
            if (!video.paused) requestAnimationFrame(move)
        }
        for (const change of ["play", "seeked"]) video.addEventListener(change, move)
        ear.addEventListener("pointerdown", event => {
            video.currentTime = (video.duration * event.offsetX) / ear.clientWidth || 0
        })
    }

    /** Say which part of the file plays, and offer all of it. */
    function offerTheRest({begin, end, length, whole, part: shown, clock: all}) {
        part.textContent = going ? `from ${clock(begin)} of ${all}` : shown
        more.textContent = `whole file, ${all}`
        more.hidden = whole || going
        along.hidden = !going
        Object.assign(along, {max: Math.max(1, Math.floor(length) - 1), value: begin})
        if (!going) return
        video.addEventListener("timeupdate", ({target}) => { if (target === video) along.value = begin + target.currentTime })
        video.addEventListener("ended", ({target}) => { if (target === video && end < length - 0.5) ask(end) })
    }

    function play() {
        video.play().catch(() => {})  // a page that was not touched yet may not sound: its controls are there
    }

    /** One clip sounds at a time. Events come late: the clip may be gone already. */
    function alone({target}) {
        if (target !== video) return
        video.dataset.started = performance.now()
        silence(video)
        tell()
    }

    /** Half a clip keeps its button, which says whether it plays. */
    function sign() {
        const plays = sounds()
        figure.dataset.plays = plays
        if (item.part !== "both") glyph.textContent = plays ? "❚❚" : item.part === "sound" ? "♪" : "▶"
    }

    /** Show an item; true if it is another clip than before. */
    function update(next) {
        const other = next.key !== item.key
        if (other) {
            rest()
            problem.textContent = ""
        }
        item = next
        if (next.problem) problem.textContent = next.problem
        button.disabled = Boolean(next.problem)
        image.src = next.still
        image.hidden = !next.still
        glyph.textContent = next.problem ? "" : next.still ? "▶" : "♪"
        glyph.hidden = Boolean(next.problem)
        figure.dataset.verdict = next.verdict
        figure.dataset.part = next.part
        badge.textContent = SIGNS[next.verdict] ?? ""
        badge.hidden = !next.verdict
        warning.hidden = !next.warning
        warning.title = next.warning
        title.textContent = next.title
        score.textContent = next.score
        note.textContent = [next.note, next.warning].filter(Boolean).join(" · ")
        const spoken = [next.title, next.note, next.verdict, next.warning, next.score && `similarity ${next.score}`]
        button.setAttribute("aria-label", `play ${spoken.filter(Boolean).join(", ")}`)
        if (!other) sign()
        return other
    }

    button.addEventListener("click", start)
    more.addEventListener("click", () => { going = true; ask(0) })
    along.addEventListener("change", () => ask(Number(along.value)))
    rest()
    const sounds = () => Boolean(video && !video.paused)
    const show = () => figure.scrollIntoView({block: "nearest"})  // what was clicked elsewhere plays in view
    return {start, show, sounds, receive, update, remove: () => { rest(); figure.remove() }}
}

function render({model, el}) {
    const shelf = element("div", "avid-shelf", el)
    shelf.setAttribute("role", "group")
    const cells = []

    function show() {
        const items = model.get("_items")
        shelf.setAttribute("aria-label", model.get("_label"))
        shelf.style.setProperty("--avid-clip", `${model.get("_width")}px`)
        while (cells.length > items.length) cells.pop().remove()
        while (cells.length < items.length) {
            const place = cells.length
            const tell = () => {
                model.set("playing", place)
                model.save_changes()
            }
            const fetch = at => {
                tell()
                model.send(at === undefined ? {fetch: place} : {fetch: place, at})
            }
            cells.push(makeCell(shelf, fetch, tell))
        }
        items.forEach((item, place) => {
            const moves = item.part === "picture" && !window.matchMedia("(prefers-reduced-motion: reduce)").matches
            if (cells[place].update(item) && moves) cells[place].start()
        })
    }

    /** Keys A, B, ... play, as long as the focus is in the panel and not in a field for text. */
    function letter(event) {
        const panel = el.closest(".avid-panel") ?? el
        const at = event.key.length === 1 ? event.key.toLowerCase().charCodeAt(0) - 97 : -1
        const writes = event.target.matches?.("input:not([type=range]), textarea, select")
        const commands = event.ctrlKey || event.metaKey || event.altKey
        if (!cells[at] || writes || commands || !panel.contains(event.target)) return
        cells[at].start()
        panel.querySelector(".avid-next")?.focus({preventScroll: true})
        event.preventDefault()
    }
    /** JupyterLab would take letters for its own commands. */
    function own(event) {
        const panel = el.closest(".avid-panel")
        if (panel?.contains(event.target)) panel.dataset.lmSuppressShortcuts = "true"
    }
    if (model.get("_letters")) {
        document.addEventListener("keydown", letter)
        document.addEventListener("focusin", own)
    }

    const started = () => {
        const cell = cells[model.get("playing")]
        if (!cell || cell.sounds()) return
        if (!shelf.contains(document.activeElement)) cell.show()
        cell.start()
    }
    const received = (message, buffers) => cells[message.place]?.receive(message, buffers)
    const deaf = listen(model, {"change:_items": show, "change:playing": started, "msg:custom": received})
    show()
    return () => {
        deaf()
        document.removeEventListener("keydown", letter)
        document.removeEventListener("focusin", own)
        cells.forEach(cell => cell.remove())
    }
}

export default {render}
