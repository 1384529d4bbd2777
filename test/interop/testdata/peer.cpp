// A Proton C++ client in the hands of a test: the same commands and the same answers as peer.py, which explains them.
// Everything is the library's default unless a command says otherwise.

#include <proton/annotation_key.hpp>
#include <proton/binary.hpp>
#include <proton/codec/map.hpp>
#include <proton/codec/vector.hpp>
#include <proton/connection.hpp>
#include <proton/connection_options.hpp>
#include <proton/container.hpp>
#include <proton/delivery.hpp>
#include <proton/delivery_mode.hpp>
#include <proton/duration.hpp>
#include <proton/error_condition.hpp>
#include <proton/map.hpp>
#include <proton/message.hpp>
#include <proton/message_id.hpp>
#include <proton/messaging_handler.hpp>
#include <proton/receiver.hpp>
#include <proton/receiver_options.hpp>
#include <proton/scalar.hpp>
#include <proton/sender.hpp>
#include <proton/sender_options.hpp>
#include <proton/source.hpp>
#include <proton/source_options.hpp>
#include <proton/symbol.hpp>
#include <proton/target.hpp>
#include <proton/timestamp.hpp>
#include <proton/tracker.hpp>
#include <proton/transport.hpp>
#include <proton/uuid.hpp>
#include <proton/value.hpp>
#include <proton/work_queue.hpp>

#include <cstdio>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using std::map;
using std::string;

typedef map<string, string> args_t;
typedef std::vector<proton::value> list_t;
typedef map<string, proton::value> map_t;

// One line of what is told.
class event {
  public:
    explicit event(const string& name) { text("event", name); }
    event& raw(const string& key, const string& json) {
        out_ += (out_.empty() ? "{" : ",") + quote(key) + ":" + json;
        return *this;
    }
    event& text(const string& key, const string& s) { return raw(key, quote(s)); }
    event& number(const string& key, uint64_t n) { return raw(key, std::to_string(n)); }
    event& flag(const string& key, bool b) { return raw(key, b ? "true" : "false"); }
    event& condition(const proton::error_condition& c) {
        return c.empty() ? *this : text("condition", c.name()).text("text", c.description());
    }
    void emit() { std::cout << out_ << "}" << std::endl; }

    static string quote(const string& s) {
        string q = "\"";
        for (unsigned char c : s) {
            if (c == '"' || c == '\\') {
                q += '\\';
                q += char(c);
            } else if (c < 0x20) {
                char hex[8];
                std::snprintf(hex, sizeof hex, "\\u%04x", c);
                q += hex;
            } else {
                q += char(c);
            }
        }
        return q + "\"";
    }

  private:
    string out_;
};

// Bytes of which each says where it belongs.
static proton::binary pattern(size_t size) {
    proton::binary b(size);
    for (size_t i = 0; i < size; i++) b[i] = uint8_t(i ^ i >> 8 ^ i >> 16);
    return b;
}

// Bodies of many kinds.
static map<string, proton::value> bodies() {
    map<string, proton::value> k;
    proton::uuid u = proton::uuid::copy("\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10");
    k["bool"] = true;
    k["ubyte"] = uint8_t(255);
    k["ushort"] = uint16_t(65535);
    k["uint"] = uint32_t(4294967295u);
    k["ulong"] = uint64_t(-1);
    k["byte"] = int8_t(-128);
    k["short"] = int16_t(-32768);
    k["int"] = int32_t(-2147483647);
    k["long"] = int64_t(-5);
    k["float"] = 1.5f;
    k["double"] = -2.25e300;
    k["char"] = wchar_t(0x20ac);
    k["timestamp"] = proton::timestamp(1700000000123);
    k["uuid"] = u;
    k["string"] = string("Gr\xc3\xbc\xc3\x9f" "e");
    k["symbol"] = proton::symbol("a-symbol");
    list_t list = {1, "two", proton::symbol("three"), u, true};
    k["list"] = list;
    map_t inner = {{"deeper", list}};
    map_t outer = {{"a", 1}, {"b", list}, {"c", inner}};
    k["map"] = outer;
    k["array"] = std::vector<int32_t>{1, -2, 300};
    k["array-symbol"] = std::vector<proton::symbol>{"a", "b"};
    return k;
}

class peer : public proton::messaging_handler {
  public:
    explicit peer(const string& id) : container_(*this, id), bodies_(bodies()) {}

    void run() {
        std::thread(&peer::read, this).detach();
        container_.auto_stop(false);
        container_.run();
    }

    void on_container_start(proton::container& c) override {
        commands_.reset(new proton::work_queue(c));
        started_.set_value();
    }

    // What happens to connections.

    void on_connection_open(proton::connection& c) override {
        event("connected").text("conn", name(c)).text("container", c.container_id()).emit();
    }
    void on_connection_close(proton::connection& c) override {
        if (closing_[name(c)])
            event("disconnected").text("conn", name(c)).emit();
        else if (c.error().empty())
            event("error").text("conn", name(c)).text("what", "the peer closes the connection").emit();
    }
    void on_connection_error(proton::connection& c) override {
        event("error").text("conn", name(c)).text("what", "connection error").condition(c.error()).emit();
    }
    void on_session_close(proton::session& s) override {
        proton::connection c = s.connection();
        if (!closing_[name(c)]) event("error").text("conn", name(c)).text("what", "the peer ends the session").emit();
    }
    void on_session_error(proton::session& s) override {
        event("error").text("conn", name(s.connection())).text("what", "session error").condition(s.error()).emit();
    }
    void on_transport_error(proton::transport& t) override {
        event("error").text("conn", name(t.connection())).text("what", "transport error").condition(t.error()).emit();
    }
    void on_transport_close(proton::transport& t) override {
        string n = name(t.connection());
        if (!closing_[n] && t.error().empty()) event("error").text("conn", n).text("what", "the connection is lost").emit();
    }
    void on_error(const proton::error_condition& c) override { event("error").text("what", "error").condition(c).emit(); }

    // What happens to links.

    void on_receiver_open(proton::receiver& r) override {
        proton::source s = r.source();
        std::ostringstream t;
        static const map<int, string> policies = {{proton::source::LINK_CLOSE, "link-detach"},
                                                  {proton::source::SESSION_CLOSE, "session-end"},
                                                  {proton::source::CONNECTION_CLOSE, "connection-close"},
                                                  {proton::source::NEVER, "never"}};
        auto policy = policies.find(s.expiry_policy());
        t << "{\"address\":" << event::quote(s.address()) << ",\"durable\":" << s.durability_mode()
          << ",\"expiry\":" << event::quote(policy == policies.end() ? "" : policy->second)
          << ",\"timeout\":" << s.timeout().milliseconds() / 1000 << "}";
        event e("attached");
        e.text("link", r.name());
        // A refusal has no source; this library shows it as an empty one.
        e.raw("terminus", s.address().empty() ? "null" : t.str()).raw("properties", json(r.properties())).emit();
    }
    void on_sender_open(proton::sender& s) override {
        string address = s.target().address();
        event("attached").text("link", s.name())
            .raw("terminus", address.empty() ? "null" : "{\"address\":" + event::quote(address) + "}").emit();
    }
    void on_receiver_detach(proton::receiver& r) override { ended(r, "detached", "the peer detaches the link"); }
    void on_receiver_close(proton::receiver& r) override { ended(r, "closed", "the peer closes the link"); }
    void on_receiver_error(proton::receiver& r) override { failed(r); }
    void on_sender_detach(proton::sender& s) override { ended(s, "detached", "the peer detaches the link"); }
    void on_sender_close(proton::sender& s) override { ended(s, "closed", "the peer closes the link"); }
    void on_sender_error(proton::sender& s) override { failed(s); }

    void on_message(proton::delivery& d, proton::message& m) override {
        string link = d.receiver().name(), id = proton::get<string>(m.id());
        event e("message");
        e.text("link", link).text("id", id).number("count", m.delivery_count()).flag("first", m.first_acquirer()).flag("settled", d.settled());
        proton::symbol gap("x-opt-posthouse-gap");
        if (m.message_annotations().exists(gap)) e.raw("gap", json(m.message_annotations().get(gap)));
        auto kind = bodies_.find(m.subject());
        if (kind != bodies_.end() && m.reply_to() == "cpp") {
            e.text("kind", kind->first).flag("intact", encoded(m.body()) == encoded(kind->second));
        } else if (m.body().type() == proton::BINARY) {
            proton::binary b = proton::get<proton::binary>(m.body());
            e.number("size", b.size()).flag("intact", b == pattern(b.size()));
        }
        if (manual_[link]) held_[link + "\t" + id] = d;
        e.emit();
    }
    void on_receiver_drain_finish(proton::receiver& r) override {
        event("drained").text("link", r.name()).number("credit", uint64_t(r.credit())).emit();
    }
    void on_tracker_settle(proton::tracker& t) override {
        string tag = proton::to_string(t.tag());
        // The reason of a rejection is not to be had from this library.
        event("outcome").text("link", t.sender().name()).text("id", sent_[tag]).text("state", proton::to_string(t.state())).emit();
        sent_.erase(tag);
    }

  private:
    void read() {
        started_.get_future().wait();
        for (string line; std::getline(std::cin, line);) commands_->add([=]() { command(line); });
    }

    void command(const string& line) {
        std::istringstream in(line);
        string operation, word;
        std::getline(in, operation, '\t');
        args_t a;
        while (std::getline(in, word, '\t')) a[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
        if (operation == "connect") connect(a);
        else if (operation == "quit") container_.stop();
        else if (operation == "kinds") kinds();
        else {
            // What is done to a connection must be done from its own queue, or it is not woken up to write.
            if (a.count("conn")) of_link_[a["link"]] = a["conn"];
            else a["conn"] = of_link_[a["link"]];
            connections_[a["conn"]].work_queue().add([=]() { on_connection(operation, a); });
        }
    }

    void on_connection(const string& operation, args_t a) {
        if (operation == "receiver") receiver(a);
        else if (operation == "sender") sender(a);
        else if (operation == "send") send(a);
        else if (operation == "credit") receivers_[a["link"]].add_credit(std::stoi(a["credit"]));
        else if (operation == "drain") receivers_[a["link"]].drain();
        else if (operation == "settle") settle(a);
        else if (operation == "detach") leave(a, &proton::link::detach);
        else if (operation == "close") leave(a, &proton::link::close);
        else if (operation == "disconnect") { closing_[a["conn"]] = true; connections_[a["conn"]].close(); }
        else event("error").text("what", "no such operation: " + operation).emit();
    }

    void connect(args_t& a) {
        proton::connection_options o;
        if (a["sasl"] == "none") o.sasl_enabled(false);
        if (a["sasl"] == "anonymous") o.sasl_allowed_mechs("ANONYMOUS");
        if (a["sasl"] == "plain") o.user(a["user"]).password(a["password"]).sasl_allow_insecure_mechs(true);
        if (a.count("heartbeat")) o.idle_timeout(proton::duration(1000 * std::stoi(a["heartbeat"])));
        connections_[a["conn"]] = container_.connect(a["url"], o);
    }

    void receiver(args_t& a) {
        string link = a["link"];
        proton::receiver_options o;
        o.name(link);
        proton::source_options s;
        if (a.count("durable")) s.durability_mode(proton::source::UNSETTLED_STATE).expiry_policy(proton::source::NEVER);
        if (a.count("timeout"))
            s.durability_mode(proton::source::UNSETTLED_STATE).expiry_policy(proton::source::LINK_CLOSE)
                .timeout(proton::duration(1000 * std::stoi(a["timeout"])));
        o.source(s);
        if (a.count("settled")) o.delivery_mode(proton::delivery_mode::AT_MOST_ONCE);
        if (a.count("credit")) o.credit_window(std::stoi(a["credit"]));
        manual_[link] = a.count("manual") > 0;
        if (manual_[link]) o.auto_accept(false);
        map<proton::symbol, proton::value> p;
        for (auto& x : a) {
            if (x.first.compare(0, 5, "prop:") != 0) continue;
            bool digits = x.second.find_first_not_of("0123456789") == string::npos;
            p[x.first.substr(5)] = digits ? proton::value(int64_t(std::stoll(x.second))) : proton::value(x.second);
        }
        if (!p.empty()) o.properties(p);
        receivers_[link] = connections_[a["conn"]].open_receiver(a["address"], o);
    }

    void sender(args_t& a) {
        proton::sender_options o;
        o.name(a["link"]);
        if (a.count("settled")) o.delivery_mode(proton::delivery_mode::AT_MOST_ONCE);
        senders_[a["link"]] = connections_[a["conn"]].open_sender(a["address"], o);
    }

    void send(args_t& a) {
        proton::message m;
        event e("sent");
        e.text("link", a["link"]).text("id", a["id"]);
        m.id(a["id"]);
        std::vector<char> encoded;
        if (a.count("kind")) {
            m.subject(a["kind"]);
            m.reply_to("cpp");
            m.body(bodies_.at(a["kind"]));
        } else if (a.count("size")) {
            m.inferred(true);
            m.body(pattern(std::stoul(a["size"])));
        } else if (a.count("total")) {
            size_t total = std::stoul(a["total"]);
            m.inferred(true);
            m.body(pattern(total - 100));
            m.encode(encoded);
            m.body(pattern(total - 100 + (total - encoded.size())));
        }
        encoded.clear();
        m.encode(encoded);
        if (a.count("kind")) e.text("hex", hex(encoded));
        proton::tracker t = senders_[a["link"]].send(m);
        if (!a.count("settled")) sent_[proton::to_string(t.tag())] = a["id"];
        e.number("size", encoded.size()).emit();
    }

    void settle(args_t& a) {
        string key = a["link"] + "\t" + a["id"], outcome = a["outcome"];
        proton::delivery d = held_.at(key);
        held_.erase(key);
        if (outcome == "accepted") d.accept();
        else if (outcome == "rejected") d.reject();
        else if (outcome == "released") d.release();
        else d.modify();
    }

    void kinds() {
        string names;
        for (auto& k : bodies_) names += (names.empty() ? "" : ",") + event::quote(k.first);
        event("kinds").raw("kinds", "[" + names + "]").emit();
    }

    void leave(args_t& a, void (proton::link::*how)()) {
        string link = a["link"];
        leaving_[link] = true;
        if (receivers_.count(link)) (receivers_[link].*how)();
        else (senders_[link].*how)();
    }

    template <class Link> void ended(Link& l, const string& expected, const string& what) {
        if (!l.error().empty()) return; // told by failed
        if (leaving_[l.name()]) event(expected).text("link", l.name()).emit();
        else if (!closing_[name(l.connection())]) event("error").text("link", l.name()).text("what", what).emit();
    }
    template <class Link> void failed(Link& l) {
        event("error").text("link", l.name()).text("what", "link error").condition(l.error()).emit();
    }

    string name(const proton::connection& c) {
        for (auto& x : connections_)
            if (x.second == c) return x.first;
        return "";
    }

    // Values are compared by their encoding: the library's own comparison throws where a list or map is followed by more.
    static std::vector<char> encoded(const proton::value& body) {
        proton::message m;
        m.body(body);
        return m.encode();
    }

    static string hex(const std::vector<char>& b) {
        static const char digits[] = "0123456789abcdef";
        string s;
        for (unsigned char c : b) {
            s += digits[c >> 4];
            s += digits[c & 15];
        }
        return s;
    }

    // A value as JSON, as far as Posthouse's own annotations and properties go.
    static string json(const proton::value& v) {
        switch (v.type()) {
        case proton::MAP: {
            string out;
            for (auto& x : proton::get<map<string, proton::value>>(v)) out += (out.empty() ? "" : ",") + event::quote(x.first) + ":" + json(x.second);
            return "{" + out + "}";
        }
        case proton::LIST: {
            string out;
            for (auto& x : proton::get<list_t>(v)) out += (out.empty() ? "" : ",") + json(x);
            return "[" + out + "]";
        }
        case proton::UBYTE: case proton::USHORT: case proton::UINT: case proton::ULONG:
        case proton::BYTE: case proton::SHORT: case proton::INT: case proton::LONG:
            return std::to_string(proton::coerce<int64_t>(proton::get<proton::scalar>(v)));
        default:
            return event::quote(proton::to_string(v));
        }
    }
    static string json(const map<proton::symbol, proton::value>& m) {
        string out;
        for (auto& x : m) out += (out.empty() ? "" : ",") + event::quote(x.first) + ":" + json(x.second);
        return "{" + out + "}";
    }

    std::promise<void> started_;
    std::unique_ptr<proton::work_queue> commands_;
    proton::container container_;
    map<string, proton::value> bodies_;
    map<string, proton::connection> connections_;
    map<string, proton::receiver> receivers_;
    map<string, proton::sender> senders_;
    map<string, proton::delivery> held_; // link, tab, message id
    map<string, string> sent_;           // delivery tag -> message id
    map<string, string> of_link_;        // link -> connection
    map<string, bool> manual_, leaving_, closing_;
};

int main(int, char** argv) {
    (new peer(argv[1]))->run();
    std::_Exit(0); // the thread that reads commands still waits for one: nothing may be destroyed
}
