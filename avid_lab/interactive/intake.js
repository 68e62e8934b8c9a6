// A file, or a few seconds of camera and microphone, for the kernel. The page asks for permission; nothing is kept in it.

const KINDS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"]
const PART = 4e6  // bytes of a message: Jupyter's server drops one above 10 MB without a word

function render({model, el}) {
    const root = document.createElement("div")
    const file = document.createElement("input"), view = document.createElement("video"), said = document.createElement("span")
    const [choose, record] = [0, 1].map(() => document.createElement("button"))
    root.className = "avid-intake"
    for (const button of [choose, record]) {
        button.type = "button"
        button.className = "lm-Widget jupyter-widgets jupyter-button widget-button"
    }
    const refusal = model.get("_refusal"), seconds = model.get("_seconds"), idle = `● record ${seconds} s`
    choose.textContent = "⬆ your clip"
    choose.setAttribute("aria-label", "your clip")
    choose.title = refusal || "Ask with a video file with sound; it goes to this kernel and nowhere else"
    record.textContent = idle
    record.title = "Ask with what your camera and microphone catch; it goes to this kernel and nowhere else"
    file.type = "file"
    file.accept = "video/*,.mp4,.mov,.mkv,.webm,.avi"
    file.hidden = view.hidden = record.hidden = true
    view.muted = view.autoplay = view.playsInline = true
    said.setAttribute("role", "status")
    root.append(choose, file, record, view, said)
    el.append(root)
    let stream = null
    const mute = !navigator.mediaDevices?.getUserMedia || !window.MediaRecorder
    if (!refusal) {
        record.hidden = false
        if (mute) said.textContent = "No recording here: it needs https or localhost, and a browser with a camera. Files work."
    }

    function busy(is) {
        choose.disabled = is || Boolean(refusal)
        record.disabled = is || mute
    }

    function rest() {
        stream?.getTracks().forEach(track => track.stop())
        stream = view.srcObject = null
        view.hidden = true
        record.textContent = idle
        busy(false)
    }

    const megabytes = bytes => `${(bytes / 1e6).toFixed(0)} MB`

    /** Send a file in parts; the kernel answers when it has done with it. */
    async function hand(blob, name) {
        const most = model.get("_most")
        if (blob.size > most) {
            said.textContent = `${name} has ${megabytes(blob.size)}; at most ${megabytes(most)} can be handed over here. `
                + "Cut it shorter, or call .ask(path) on this panel in a cell: that takes any size."
            return
        }
        busy(true)
        said.textContent = `${name} goes to the kernel …`
        try {
            for (let at = 0; at === 0 || at < blob.size; at += PART)
                model.send({name, at, size: blob.size}, undefined, [await blob.slice(at, at + PART).arrayBuffer()])
        } catch (problem) {
            busy(false)
            said.textContent = `${name} could not be handed over: ${problem.message}. Is the kernel running?`
        }
    }

    async function capture() {
        busy(true)
        said.textContent = ""
        try {
            stream = await navigator.mediaDevices.getUserMedia({video: {width: 320, height: 240}, audio: true})
        } catch (problem) {
            rest()
            said.textContent = `No recording: ${problem.name === "NotFoundError" ? "no camera or microphone was found"
                : problem.name === "NotAllowedError" ? "the browser was not allowed to" : problem.message}. Files work.`
            return
        }
        view.srcObject = stream
        view.hidden = false
        const type = KINDS.find(kind => MediaRecorder.isTypeSupported(kind)), parts = []
        const recorder = new MediaRecorder(stream, {mimeType: type, videoBitsPerSecond: 600000})
        recorder.addEventListener("dataavailable", event => parts.push(event.data))
        recorder.addEventListener("stop", () => {
            rest()
            hand(new Blob(parts, {type}), `recording.${type.includes("mp4") ? "mp4" : "webm"}`)
        })
        recorder.start()
        for (let left = Math.ceil(seconds); left > 0; left--)
            setTimeout(() => { record.textContent = `● recording, ${left} s` }, 1000 * (seconds - left))
        setTimeout(() => recorder.state === "inactive" || recorder.stop(), 1000 * seconds)
    }

    function received(message) {
        if (!message.done) return
        busy(false)
        said.textContent = ""
    }

    choose.addEventListener("click", () => { file.value = ""; file.click() })
    file.addEventListener("change", () => { if (file.files.length) hand(file.files[0], file.files[0].name) })
    record.addEventListener("click", capture)
    model.on("msg:custom", received)
    busy(false)
    return () => { rest(); model.off("msg:custom", received) }
}

export default {render}
